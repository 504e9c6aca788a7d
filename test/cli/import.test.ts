// An adapter that PEFT saved goes on training here, by both methods, and back to PEFT.
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lines, ROOT, runCli } from "./run.js";

const golden = join(ROOT, "test", "golden");
let folder: string;
let env: NodeJS.ProcessEnv;
let data: string;
let reward: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-import-"));
  env = { TINYLORA_CACHE: join(folder, "cache") };
  data = join(folder, "sums.jsonl");
  const rows = Array.from({ length: 12 }, (_, i) =>
    JSON.stringify({ question: `What is ${i} + 1?`, solution: `It is ${i + 1}.\n#### ${i + 1}`, answer: `${i + 1}` }),
  );
  await writeFile(data, rows.join("\n"));
  reward = join(folder, "reward.mjs"); // tells completions apart, so that there is a gradient
  await writeFile(reward, "export default (completion) => ((completion.charCodeAt(0) || 0) % 7) / 7;\n");
});
afterAll(() => rm(folder, { recursive: true }));

async function ok(args: readonly string[], input = "") {
  const result = await runCli(args, { env, input });
  expect(result.stderr).not.toContain("error");
  expect(result.code).toBe(0);
  return result;
}
const logprobs = async (model: string, adapter: string | null, ids: readonly number[]): Promise<number[]> => {
  const on = adapter === null ? [] : ["--adapter", adapter];
  const { stdout } = await ok(["score", "--model", model, "--dtype", "fp32", ...on], JSON.stringify([ids]));
  return JSON.parse(stdout)[0].logprobs.slice(1);
};
const distance = (one: readonly number[], other: readonly number[]) =>
  Math.max(...one.map((value, i) => Math.abs(value - other[i]!)));

/** Imports the fixture and returns what training from it is told, as `import` prints it. */
async function imported(name: string, model: string, to: string): Promise<string[]> {
  const args = ["import", join(golden, "peft", name), "--output", to, "--model", model, "--dtype", "fp32"];
  const { stdout, stderr } = await ok(args);
  expect(stdout).toBe(`${to}\n`);
  const flags = /to train it: (.*)$/m.exec(stderr)![1]!.split(" ");
  expect(flags.slice(0, 2)).toEqual(["--start-from", to]);
  return flags;
}

describe.each([
  ["lora-qwen2", "qwen2"],
  ["lora-llama3", "llama3"],
  ["qwen2", "qwen2"],
])("%s as PEFT saved it", (name, base) => {
  const model = join(golden, "models", base);
  it.each(["train", "sft"])("%s starts from it, can be resumed, and moves on from it", async (method) => {
    const [start, straight, resumed] = ["start", "straight", "resumed"].map((part) =>
      join(folder, `${name}-${method}-${part}`),
    ) as [string, string, string];
    const flags = await imported(name, model, start);
    const { ids, logprobs: wanted } = JSON.parse(await readFile(join(golden, "peft", `${name}.json`), "utf8"));
    expect(distance(await logprobs(model, start, ids), wanted)).toBeLessThan(1e-4);

    const common = ["--model", model, "--dtype", "fp32", "--data", data, "--shots", "0", "--prompt-style", "text"];
    common.push(
      ...["--eval-steps", "0", "--threads", "1", "--num-prompts", "2", "--max-completion-length", "6"],
      ...flags,
    );
    if (method === "train") common.push("--num-generations", "3", "--rewards", reward);
    const run = (path: string, steps: string, rate: string) =>
      ok([method, ...common, "--learning-rate", rate, "--max-steps", steps, "--run", path]);
    await run(straight, "2", "0.001");
    await run(resumed, "1", "0.001");
    await ok([method, "--resume", resumed, "--max-steps", "2"]);
    const file = (path: string) => readFile(join(path, "adapter", "adapter.safetensors"));
    expect((await file(resumed)).equals(await file(straight))).toBe(true);
    for (const line of lines(await readFile(join(straight, "metrics.jsonl"), "utf8"))) {
      expect(JSON.parse(line).grad_norm).toBeGreaterThan(0);
    }

    // Trained a little, it is near what it came from, and not that; the model without it is farther away.
    const apart = distance(await logprobs(model, straight, ids), wanted);
    expect(apart).toBeGreaterThan(1e-4);
    expect(apart).toBeLessThan(0.5);
    expect(distance(await logprobs(model, null, ids), wanted)).toBeGreaterThan(2 * apart);
  });
});

describe("what training cannot start from", () => {
  const model = join(golden, "models", "qwen2");
  const attempt = async (...args: string[]) => {
    const { code, stderr } = await runCli(["train", "--model", model, "--data", data, ...args], { env });
    expect(code).not.toBe(0);
    return stderr.split("\n").find((line) => line.startsWith("error: "));
  };
  let start: string;
  let flags: string[];
  beforeAll(async () => {
    start = join(folder, "start");
    flags = await imported("lora-qwen2", model, start);
  });

  it("says which options describe another adapter", async () => {
    expect(await attempt("--start-from", start, "--adapter", "lora", "--r", "3")).toMatch(
      /start_from: .*start is another adapter than the options: expected r: 2 \(found 3\), target_modules: q_proj,v_proj,down_proj \(found q_proj,.*\), lora_alpha: 4\.24\d* \(found 3\)$/,
    );
    expect(await attempt("--start-from", start)).toContain("expected adapter: lora (found tinylora)");
  });
  it("says what is missing, foreign or contradictory", async () => {
    expect(await attempt(...flags.with(1, join(folder, "nowhere")))).toContain("nowhere");
    expect(await attempt(...flags, "--init", "uniform")).toContain("init: expected zero, since start_from gives");
    expect(await attempt("--start-from", start, "--adapter", "full")).toContain("start_from: expected nothing");
    const other = join(golden, "models", "llama3");
    expect(
      await attempt(
        ...flags,
        ...["--model", other, "--prompt-style", "text", "--shots", "0", "--max-completion-length", "8"],
      ),
    ).toContain("made for another base model");
    const broken = join(folder, "broken");
    await cp(start, broken, { recursive: true });
    await writeFile(join(broken, "adapter.safetensors"), "no");
    expect(await attempt(...flags.with(1, broken))).toContain("adapter.safetensors");
  });
});
