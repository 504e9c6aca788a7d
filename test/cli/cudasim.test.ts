// LoRA and full fine-tuning, by GRPO and by SFT, through the command line on the CUDA kernels, which the stand-in for the
// driver interprets, or a GPU runs that TINYLORA_CUDA_DRIVER names, and the same on the CPU. Left out without nvcc.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeSafetensors, tensorFloats } from "../../lib/adapter/safetensors.js";
import { readMetrics } from "../../lib/run/metrics-file.js";
import { cudasimLibrary, cudasimTitle, hasCudasim, kernelDevice } from "../cudasim/build.js";
import { writeTinyModel } from "../tiny-model.js";
import { commandLine, runCli } from "./run.js";

const STEPS = 2;
let folder: string;
let model: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-cli-cudasim-"));
  model = await writeTinyModel(join(folder, "model"));
  const rows = Array.from({ length: 6 }, (_, i) => ({
    question: `${i} + 1?`,
    answer: `${i + 1}`,
    solution: `${i + 1}.`,
  }));
  await writeFile(join(folder, "sums.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
  await writeFile(join(folder, "reward.mjs"), "export default (text) => ((text.charCodeAt(0) || 0) % 7) / 7;\n");
});
afterAll(() => rm(folder, { recursive: true }));

/** What is trained, by name, and the metrics of each step. A leak on the device is an error. */
async function run(method: "train" | "sft", adapter: "lora" | "full", dtype: string, device: string) {
  const to = join(folder, `${method}-${adapter}-${dtype}-${device}`);
  const args = [
    ...[method, "--device", device, "--dtype", dtype, "--data", join(folder, "sums.jsonl"), "--run", to],
    ...["--adapter", adapter, "--max-steps", String(STEPS), "--eval-steps", "0", "--shots", "0", "--threads", "2"],
    ...["--num-prompts", "2", "--optim", "sgd", "--max-grad-norm", "0", "--learning-rate", "0.5"],
  ];
  const sampled = ["--num-generations", "4", "--max-completion-length", "8", "--rewards", join(folder, "reward.mjs")];
  const env = { TINYLORA_MODEL: model, TINYLORA_CACHE: join(folder, "cache"), CUDASIM_LEAK_STATUS: "86" };
  const { code, stderr } = await runCli(method === "train" ? [...args, ...sampled] : args, { env });
  expect(stderr).not.toContain("cudasim:");
  expect(code, stderr).toBe(0);
  const lines = (await readFile(join(to, "metrics.jsonl"), "utf8")).trim().split("\n");
  const metrics = lines.map((line) => JSON.parse(line) as Record<string, number>);
  const trained = adapter === "lora" ? ["adapter", "adapter.safetensors"] : ["model", "model.safetensors"];
  const tensors = await weights(join(to, ...trained));
  if (adapter === "lora") for (const name of tensors.keys()) if (!name.endsWith(".B")) tensors.delete(name);
  return { tensors, metrics };
}

async function weights(file: string): Promise<Map<string, Float32Array>> {
  const { tensors } = decodeSafetensors(await readFile(file), file);
  return new Map([...tensors].map(([name, tensor]) => [name, tensorFloats(tensor)]));
}

/** How far b went another way than a, against how far a went from its start: that of LoRA's B is 0. */
function difference(a: Map<string, Float32Array>, b: Map<string, Float32Array>, start: Map<string, Float32Array>) {
  let [apart, moved] = [0, 0];
  for (const [name, values] of a) {
    for (const [i, value] of values.entries()) {
      apart += (value - b.get(name)![i]!) ** 2;
      moved += (value - (start.get(name)?.[i] ?? 0)) ** 2;
    }
  }
  expect(moved).toBeGreaterThan(0);
  return Math.sqrt(apart / moved);
}

describe.skipIf(!hasCudasim)(cudasimTitle(`train on ${kernelDevice}`), () => {
  it.each([
    ["sft", "lora", "fp32", 1e-5],
    ["sft", "full", "fp32", 1e-5],
    ["train", "lora", "fp32", 1e-5],
    ["train", "full", "fp32", 1e-5],
    // Activations and their gradients are rounded to bf16, by each device at places of its own.
    ["sft", "lora", "bf16", 0.02],
    ["sft", "full", "bf16", 0.02],
  ] as const)(
    "%s, %s, %s: two steps come to the CPU's weights within %s",
    async (method, adapter, dtype, tolerance) => {
      const [cuda, cpu] = [await run(method, adapter, dtype, kernelDevice), await run(method, adapter, dtype, "cpu")];
      expect(cuda.metrics).toHaveLength(STEPS);
      for (const [i, { grad_norm }] of cuda.metrics.entries()) {
        expect(grad_norm).toBeGreaterThan(0);
        expect(Math.abs(grad_norm! / cpu.metrics[i]!.grad_norm! - 1)).toBeLessThan(tolerance);
        if (method === "train") expect(cuda.metrics[i]!["sampling/max_abs_dlogp"]).toBe(0);
      }
      const start =
        adapter === "full" ? await weights(join(model, "model.safetensors")) : new Map<string, Float32Array>();
      expect(difference(cpu.tensors, cuda.tensors, start)).toBeLessThan(tolerance);
    },
  );
});

it.skipIf(!hasCudasim)(cudasimTitle("a fault on cudasim ends a run"), async () => {
  const train = (to: string) => [
    ...["train", "--device", "cudasim", "--dtype", "fp32", "--data", join(folder, "sums.jsonl"), "--run", to],
    ...["--u", "3", "--max-steps", "3", "--eval-steps", "0", "--shots", "0", "--threads", "2", "--num-prompts", "2"],
    ...["--num-generations", "2", "--max-completion-length", "6", "--rewards", join(folder, "reward.mjs")],
    ...["--save-steps", "3"], // the steps before the fault are in no checkpoint yet
  ];
  const env = { TINYLORA_MODEL: model, TINYLORA_CACHE: join(folder, "cache") };
  const [straight, broken, log] = ["straight", "broken", "launches.jsonl"].map((name) => join(folder, name));
  const whole = await runCli(train(straight!), { env: { ...env, CUDASIM_LOG: log } });
  expect(whole.code, whole.stderr).toBe(0);

  // The SVD is in the cache by now: the same run has fewer kernels, and the last of three steps a third of the rest.
  const kernels = (await readFile(log!, "utf8")).trim().split("\n");
  const steps = kernels.length - kernels.filter((line) => line.startsWith('{"kernel":"gram')).length;
  const failed = await runCli(train(broken!), { env: { ...env, CUDASIM_FAIL_AT: String(Math.floor(0.85 * steps)) } });
  expect(failed.code).toBe(1);
  const said = failed.stderr.split("\n").filter((line) => line.startsWith("error: "));
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(/after the kernels .*what was on the device is lost, and this process cannot use it again/);
  expect(failed.stderr).not.toContain("warning: ");
  expect(failed.stderr).not.toMatch(/\n {4}at /);
  expect((await readMetrics(broken!)).map(({ step }) => step)).toEqual([1, 2]);
  expect(await readdir(join(broken!, "checkpoints"))).toContain("step-2");

  const resumed = await runCli(["train", "--resume", broken!], { env });
  expect(resumed.code, resumed.stderr).toBe(0);
  const adapter = (run: string) => readFile(join(run, "adapter", "adapter.safetensors"));
  expect((await adapter(broken!)).equals(await adapter(straight!))).toBe(true);
});

it.skipIf(!hasCudasim)(cudasimTitle("bench without room says what helps"), async () => {
  const env = { TINYLORA_CUDA_DRIVER: cudasimLibrary, CUDASIM_MEMORY: "100" };
  const { code, stderr } = await runCli(["bench", "--device", "cuda", "--rows", "1", "--seconds", "0.01"], { env });
  expect(stderr).toMatch(
    /^error: cuda: .* has no room for 256 MiB more \(100 of 100 MiB free\): measure fewer rows, .*\n$/,
  );
  expect(code).toBe(1);
});

const benchTitle = cudasimTitle("bench --device cudasim");
describe.skipIf(!hasCudasim)(benchTitle, () => {
  const bench = (env: NodeJS.ProcessEnv, ...flags: string[]) =>
    runCli(["bench", "--device", "cudasim", "--rows", "1", ...flags], { env });

  it("counts the kernels of --dtype", async () => {
    const { code, stdout, stderr } = await bench({}, "--dtype", "fp16", "--json");
    expect(code, stderr).toBe(0);
    const { dtype, results } = JSON.parse(stdout) as { dtype: string; results: { kernel: string }[] };
    expect(dtype).toBe("fp16");
    for (const { kernel } of results) expect(kernel).toMatch(/_f16$/);
  });

  it("is interrupted between passes, and leaves no files", async () => {
    const temporary = join(folder, "tmp");
    await mkdir(temporary, { recursive: true });
    const bench = ["bench", "--device", "cudasim", "--rows", Array(200).fill(1).join()];
    const child = spawn(process.execPath, commandLine(bench), {
      env: { ...process.env, TMPDIR: temporary },
    });
    const ended = Promise.all([text(child.stderr), once(child, "close")]);
    while ((await readdir(temporary)).length === 0) await setTimeout(50);
    child.kill("SIGINT");
    const [stderr, [code]] = await ended;
    expect(stderr).toBe("interrupted\n");
    expect(code).toBe(130);
    expect(await readdir(temporary)).toEqual([]);
  });

  it("has no passes over shared memory to count where TMA and wgmma make them", async () => {
    const { code, stdout, stderr } = await bench({ CUDASIM_ARCH: "90" });
    expect(code, stderr).toBe(0);
    expect(stdout).toContain("_sm90");
    expect(stdout).not.toContain("NaN");
  });

  it.each([
    [{ CUDASIM_ARCH: "75" }, /^error: cuda: .*expected 8\.0 \(Ampere\) or newer; or use device cpu\n$/],
    [{ CUDASIM_FAIL_AT: "50" }, /^error: cuda: .*CUDA_ERROR_ILLEGAL_ADDRESS \(700\).*\n$/],
    [{ CUDASIM_MEMORY: "100" }, /^error: cuda: .* no room for .* free\): measure fewer rows, a smaller rank .*\n$/],
    [
      { CUDASIM_ARCH: "new" },
      /^cudasim: CUDASIM_ARCH: expected a whole number .*, found "new"\nerror: cuda: the NVIDIA driver does not start.*\n$/,
    ],
  ])("says what is wrong: %j", async (env, message) => {
    const { code, stderr } = await bench(env);
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });
});
