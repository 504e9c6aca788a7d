// Every kind of trained numbers by GRPO and by SFT: a run that is stopped and goes on ends with the same bits, for any
// number of threads, and what it leaves can be used.
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Adapter } from "../../lib/adapter/adapter.js";
import { resolveConfig } from "../../lib/config/config.js";
import type { TrainOptions } from "../../lib/config/schema.js";
import type { Dataset } from "../../lib/data/load.js";
import { Engine } from "../../lib/engine.js";
import { makeTrained } from "../../lib/train/make-trained.js";
import { SftTrainer } from "../../lib/train/sft-trainer.js";
import type { Trained } from "../../lib/train/trainable.js";
import { GrpoTrainer } from "../../lib/train/trainer.js";

const MODEL = join(import.meta.dirname, "../golden/models/qwen3");
const example = (i: number) => ({
  id: `sums/${i}`,
  question: `${i} and ${i + 1}?`,
  answer: String(2 * i + 1),
  row: { solution: `That makes ${2 * i + 1}.` },
});
const data: Dataset = { name: "sums", train: Array.from({ length: 9 }, (_, i) => example(i)), test: [example(20)] };
const common: TrainOptions = {
  prompt_style: "text",
  shots: 0,
  r: 2,
  num_prompts: 3,
  num_generations: 4,
  max_completion_length: 6,
  max_steps: 4,
  eval_steps: 2,
  learning_rate: 0.01,
  num_iterations: 2,
};
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

type Method = "GRPO" | "SFT";
interface Train {
  readonly run: string;
  readonly resume?: boolean;
  readonly threads?: number;
  /** Ctrl-C after this step. */
  readonly stop?: number;
}

async function train(method: Method, options: TrainOptions, { run, resume = false, threads = 2, stop }: Train) {
  await using engine = await Engine.load(MODEL, { dtype: "bf16", threads, cacheTokens: 1024 });
  const config = { ...common, ...options };
  const adapter: Trained = await makeTrained(engine, resolveConfig(config));
  const all = { engine, adapter, data, config, run: join(folder, run), resume };
  // A reward that always tells completions apart.
  const rewards = { letters: (text: string) => text.length + [...text].filter((letter) => letter < "m").length / 100 };
  const trainer = method === "GRPO" ? new GrpoTrainer({ ...all, rewards }) : new SftTrainer(all);
  const controller = new AbortController();
  const result = await trainer.train({
    signal: controller.signal,
    onStep: ({ step }) => {
      if (step === stop) controller.abort();
    },
  });
  return result;
}

async function metrics(run: string): Promise<object[]> {
  const text = await readFile(join(folder, run, "metrics.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => ({ ...JSON.parse(line), measured: undefined }));
}

/** The files of what was trained. */
async function product(run: string): Promise<Buffer[]> {
  const name = (await readdir(join(folder, run))).find((entry) => entry === "adapter" || entry === "model")!;
  const files = ["adapter.safetensors", "model.safetensors"];
  const there = (await readdir(join(folder, run, name))).filter((file) => files.includes(file));
  return Promise.all(there.map((file) => readFile(join(folder, run, name, file))));
}

describe.each<Method>(["GRPO", "SFT"])("%s", (method) => {
  it.each(kinds)("%s: stopped and resumed = straight, 1 thread = 2", async (_, options) => {
    const straight = await train(method, options, { run: "straight" });
    expect(straight.stopped).toBe("finished");
    const stopped = await train(method, options, { run: "stopped", threads: 1, stop: 2 });
    expect(stopped).toMatchObject({ stopped: "aborted", step: 2 });
    await train(method, options, { run: "stopped", resume: true });
    expect(await metrics("stopped")).toEqual(await metrics("straight"));
    const [one, other] = [await product("stopped"), await product("straight")];
    expect(other).toHaveLength(1);
    expect(one[0]!.equals(other[0]!)).toBe(true);
    if (method === "GRPO") {
      for (const line of (await metrics("straight")).slice(1)) {
        expect(line).toHaveProperty(["sampling/max_abs_dlogp"], 0);
      }
    }
  });
});

it("what full fine-tuning leaves is a model of the trained weights", async () => {
  await train("SFT", { adapter: "full", dtype: "bf16" }, { run: "full" });
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
  expect(await score(Adapter.create(engine, { kind: "lora", rank: 2 }))).not.toEqual(trained);
});

it("a broken weights file in the newest checkpoint is passed over", async () => {
  await train("SFT", { adapter: "full" }, { run: "broken", stop: 3 });
  const file = join(folder, "broken", "checkpoints", "step-3", "weights.safetensors");
  const bytes = await readFile(file);
  bytes[bytes.length - 1]! ^= 1;
  await writeFile(file, bytes);
  await train("SFT", { adapter: "full" }, { run: "broken", resume: true });
  await train("SFT", { adapter: "full" }, { run: "straight" });
  expect(await metrics("broken")).toEqual(await metrics("straight"));
});

it("a loss that is not finite stops the run with the checkpoint as it was", async () => {
  const diverging = { adapter: "full", learning_rate: 1e30, max_grad_norm: 0 } as const;
  await expect(train("SFT", diverging, { run: "diverged" })).rejects.toThrow(/finite/);
  const kept = (await metrics("diverged")).length - 1;
  expect(await readdir(join(folder, "diverged", "checkpoints"))).toContain(`step-${kept}`);
});
