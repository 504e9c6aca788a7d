// Every kind of trained numbers by GRPO and by SFT: a run that is stopped and goes on ends with the same bits, for any
// number of threads, and what it leaves can be used.
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Adapter } from "../../lib/adapter/adapter.js";
import { decodeSafetensors, encodeSafetensors, floatTensor } from "../../lib/adapter/safetensors.js";
import type { TrainOptions } from "../../lib/config/schema.js";
import { Engine } from "../../lib/engine.js";
import type { ProgressListener } from "../../lib/train/progress.js";
import { type Method, MODEL, metricsOf, productOf, type Train, trainGolden } from "./golden-run.js";

const kinds: [name: string, options: TrainOptions][] = [
  ["tinylora", { adapter: "tinylora", u: 3, v_dtype: "bf16", v_rounding: "stochastic" }],
  ["lora_xs", { adapter: "lora_xs", v_dtype: "fp16" }],
  ["lora", { adapter: "lora", lora_alpha: 4 }],
  ["full", { adapter: "full" }],
  [
    "full by sgd, some modules",
    { adapter: "full", optim: "sgd", momentum: 0.9, target_modules: ["v_proj", "down_proj"] },
  ],
];

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-kinds-"));
});
afterEach(() => rm(folder, { recursive: true }));

const train = (method: Method, options: TrainOptions, how: Train) =>
  trainGolden(method, options, { ...how, run: join(folder, how.run) });
const metrics = (run: string) => metricsOf(join(folder, run));
const product = (run: string) => productOf(join(folder, run));

describe.each<Method>(["GRPO", "SFT"])("%s", (method) => {
  it.each(kinds)("%s: stopped and resumed = straight, 1 thread = 2", async (_, options) => {
    const straight = await train(method, options, { run: "straight" });
    expect(straight.stopped).toBe("finished");
    const stopped = await train(method, options, { run: "stopped", threads: 1, stop: 2 });
    expect(stopped).toMatchObject({ stopped: "aborted", step: 2 });
    await train(method, options, { run: "stopped", resume: true });
    expect(await metrics("stopped")).toEqual(await metrics("straight"));
    expect((await product("stopped")).equals(await product("straight"))).toBe(true);
    if (method === "GRPO") {
      for (const line of (await metrics("straight")).slice(1)) {
        expect(line).toHaveProperty(["sampling/max_abs_dlogp"], 0);
      }
    }
  });
});

it.each(kinds)("%s: stopped between the updates of one batch, it goes on from before the first", async (_, options) => {
  const more = { ...options, beta: options.adapter === "full" ? 0 : 0.1 };
  await train("GRPO", more, { run: "straight" });
  const stopped = await train("GRPO", more, { run: "stopped", stop: 2, stopIn: "second update" });
  expect(stopped).toMatchObject({ stopped: "aborted", step: 2 });
  await train("GRPO", more, { run: "stopped", resume: true });
  expect(await metrics("stopped")).toEqual(await metrics("straight"));
  expect(await product("stopped")).toEqual(await product("straight"));
});

it.each(kinds)(
  "%s by SFT: how answers are parted into passes changes the gradient by rounding alone",
  async (_, options) => {
    const norms = async (token_budget: number) => {
      const run = `budget-${token_budget}`;
      const config = {
        ...options,
        token_budget,
        max_steps: 1,
        eval_steps: 0,
        v_dtype: undefined,
        v_rounding: undefined,
      };
      await train("SFT", config, { run, dtype: "fp32" });
      const [{ loss, entropy, grad_norm }] = (await metrics(run)) as [Record<string, number>];
      return [loss!, entropy!, grad_norm!];
    };
    const [together, apart] = [await norms(4096), await norms(40)];
    for (const [i, value] of together.entries()) {
      expect(value).toBeGreaterThan(0);
      expect(Math.abs(apart[i]! / value - 1)).toBeLessThan(1e-5);
    }
  },
);

it.each<Method>(["GRPO", "SFT"])(
  "%s: weights of a step that is given up after its update are taken back",
  async (method) => {
    const full: TrainOptions = { adapter: "full", target_modules: ["v_proj"] };
    const stopped = await train(method, full, { run: "stopped", stop: 1, stopIn: "evaluation" });
    expect(stopped).toMatchObject({ stopped: "aborted", step: 1 });
    await train(method, full, { run: "stopped", resume: true });
    await train(method, full, { run: "straight" });
    expect(await metrics("stopped")).toEqual(await metrics("straight"));
  },
);

it("what full fine-tuning leaves is a model of the trained weights", async () => {
  const told: string[] = [];
  const onProgress: ProgressListener = ({ phase, done, total }) => void told.push(`${phase} ${done}/${total}`);
  await train("SFT", { adapter: "full", dtype: "bf16" }, { run: "full", onProgress });
  // After the last step's evaluation it tells of its two files, the model and what goes on from it.
  const last = told.slice(told.findLastIndex((line) => line.startsWith("evaluation")) + 1);
  expect(last[0]).toMatch(/^saving 0\/\d+$/);
  expect(new Set(last.map((line) => line.replace(/\d+\//, "of ")))).toHaveProperty("size", 2);
  await using base = await Engine.load(MODEL, { dtype: "bf16" });
  await using made = await Engine.load(join(folder, "full", "model"), { dtype: "bf16" });
  expect(made.fingerprint).not.toBe(base.fingerprint);
  const text = "1 and 2?";
  const [one, other] = [await base.logprobs([text]), await made.logprobs([text])];
  expect(one[0]!.logprobs.slice(1)).not.toEqual(other[0]!.logprobs.slice(1));
});

it("a LoRA adapter's files give the trained model's log-probabilities", async () => {
  const { adapter } = await train("SFT", { adapter: "lora" }, { run: "lora" });
  await using engine = await Engine.load(MODEL, { dtype: "bf16" });
  const score = async (one: Adapter) => {
    await engine.attach(one);
    return (await engine.logprobs(["1 and 2?"]))[0]!.logprobs.slice(1);
  };
  const trained = await score(adapter as Adapter);
  expect(await score(await Adapter.load(join(folder, "lora")))).toEqual(trained);
  expect(await score(Adapter.create(engine, { kind: "lora", r: 2 }))).not.toEqual(trained);
});

it.each<[string, (weights: (step: number) => string) => Promise<void>]>([
  [
    "broken",
    async (weights) => {
      const bytes = await readFile(weights(3));
      bytes[bytes.length - 1]! ^= 1;
      await writeFile(weights(3), bytes);
    },
  ],
  ["another step's", (weights) => copyFile(weights(2), weights(3))],
  [
    "of other shapes",
    async (weights) => {
      const { tensors, metadata } = decodeSafetensors(await readFile(weights(3)), weights(3));
      const others = [...tensors.keys()].map((name) => [name, floatTensor(Float32Array.of(0), [1])] as const);
      await writeFile(weights(3), encodeSafetensors(new Map(others), metadata));
    },
  ],
])("a weights file in the newest checkpoint that is %s is passed over", async (_, spoil) => {
  const full: TrainOptions = { adapter: "full", save_steps: 1 };
  await train("SFT", full, { run: "spoilt", stop: 3 });
  await spoil((step) => join(folder, "spoilt", "checkpoints", `step-${step}`, "weights.safetensors"));
  await train("SFT", full, { run: "spoilt", resume: true });
  await train("SFT", full, { run: "straight" });
  expect(await metrics("spoilt")).toEqual(await metrics("straight"));
});

it("a loss that is not finite stops the run with the checkpoint as it was", async () => {
  const diverging = { adapter: "full", learning_rate: 1e30, max_grad_norm: 0 } as const;
  await expect(train("SFT", diverging, { run: "diverged" })).rejects.toThrow(/finite/);
  const kept = (await metrics("diverged")).length - 1;
  expect(await readdir(join(folder, "diverged", "checkpoints"))).toContain(`step-${kept}`);
});
