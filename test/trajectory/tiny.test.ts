import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runTiny, type TinyOptions } from "./tiny-policy.js";

const script = fileURLToPath(new URL("./tiny-run.ts", import.meta.url));
const base = { dtype: "bf16", threads: 1, learning_rate: 0.05 } as const;
let folder: string;
let count = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The process of a run, to its end; it kills itself after the step `last`. */
async function make(run: string, mode: "start" | "resume", options: object, last?: number) {
  const more = [run, mode, JSON.stringify({ ...base, ...options }), ...(last === undefined ? [] : [String(last)])];
  const child = spawn(process.execPath, ["--import", "tsx", script, ...more], { stdio: ["ignore", "ignore", "pipe"] });
  const [errors, [code, signal]] = await Promise.all([text(child.stderr), once(child, "close")]);
  return { code: code as number | null, signal: signal as string | null, errors };
}

async function wholeRun(options: Partial<TinyOptions>) {
  const run = join(folder, `run-${++count}`);
  await runTiny(run, "start", { ...base, ...options });
  return result(run);
}

async function result(run: string) {
  const lines = (await readFile(join(run, "metrics.jsonl"), "utf8")).trim().split("\n");
  const metrics = lines.map((line) => {
    const { measured: _, ...rest } = JSON.parse(line) as Record<string, number | null>;
    return rest;
  });
  const path = join(run, "checkpoints", `step-${metrics.at(-1)!.step}`, "state.json");
  const file = JSON.parse(await readFile(path, "utf8")) as { state: { master: string } };
  const master = new Float32Array(Uint8Array.from(Buffer.from(file.state.master, "base64")).buffer);
  return { metrics, file, master };
}

const kl: Partial<TinyOptions> = { beta: 0.05, num_iterations: 2, temperature: 0.8, mask_truncated_completions: true };

describe.each([
  // In bf16 the gradients of activations are rounded too, those of a prompt once for every pass that it is in.
  { dtype: "bf16", tolerance: 1e-2 },
  { dtype: "fp32", tolerance: 1e-5 },
] as const)("$dtype", ({ dtype, tolerance }) => {
  it("sampler and passes give the same bits, with 1 thread as with 2", async () => {
    const one = await wholeRun({ dtype, threads: 1 });
    const two = await wholeRun({ dtype, threads: 2 });
    expect(two).toEqual(one);
    const steps = one.metrics.slice(1);
    expect(steps.map((line) => line["sampling/max_abs_dlogp"])).toEqual([0, 0, 0, 0]);
    expect(steps.every((line) => line.grad_norm! > 0)).toBe(true);
    expect(Math.hypot(...one.master)).toBeGreaterThan(0);
  });

  it("the token budget changes the gradient by rounding alone", async () => {
    const sgd = { dtype, optim: "sgd", max_grad_norm: 0, learning_rate: 1e-3, eval_steps: 0, max_steps: 1 } as const;
    const large = await wholeRun({ ...sgd, token_budget: 4096 });
    const small = await wholeRun({ ...sgd, token_budget: 24 });
    expect(small.metrics[0]!.entropy).toBeCloseTo(large.metrics[0]!.entropy!, 10);
    const norm = Math.hypot(...large.master);
    expect(norm).toBeGreaterThan(0);
    expect(Math.hypot(...large.master.map((value, i) => value - small.master[i]!)) / norm).toBeLessThan(tolerance);
  });
});

it.each([{}, kl])("4 steps are 2 + kill -9 + 2: %j", async (options) => {
  const straight = await wholeRun(options);
  const run = join(folder, `run-${++count}`);
  expect(await make(run, "start", options, 2)).toMatchObject({ signal: "SIGKILL" });
  expect(await make(run, "resume", options)).toEqual({ code: 0, signal: null, errors: "" });
  expect(await result(run)).toEqual(straight);
});
