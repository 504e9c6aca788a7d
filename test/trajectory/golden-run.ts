/** Runs of any kind of trained numbers over a small model of golden, of which everything can be compared. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { resolveConfig } from "../../lib/config/config.js";
import { usedBy } from "../../lib/config/method.js";
import type { TrainOptions } from "../../lib/config/schema.js";
import type { Dataset } from "../../lib/data/load.js";
import { Engine, type EngineOptions } from "../../lib/engine.js";
import { GrpoTrainer } from "../../lib/train/grpo-trainer.js";
import { makeTrained } from "../../lib/train/make-trained.js";
import type { ProgressListener } from "../../lib/train/progress.js";
import { SftTrainer } from "../../lib/train/sft-trainer.js";
import type { Trained } from "../../lib/train/trainable.js";

export const MODEL = join(import.meta.dirname, "../golden/models/qwen3");
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

export type Method = "GRPO" | "SFT";
export interface Train extends Pick<EngineOptions, "dtype" | "device" | "threads"> {
  /** Its folder. */
  readonly run: string;
  readonly resume?: boolean;
  /** Ctrl-C after this step, or in the evaluation or the second update of a batch that comes next. */
  readonly stop?: number;
  readonly stopIn?: "evaluation" | "second update";
  readonly onProgress?: ProgressListener;
}

/** In bf16 on the cpu with two threads, if nothing else is said. */
export async function trainGolden(
  method: Method,
  options: TrainOptions,
  { run, resume = false, stop, stopIn, onProgress, dtype = "bf16", device = "cpu", threads = 2 }: Train,
) {
  await using engine = await Engine.load(MODEL, { dtype, device, threads, cacheTokens: 1024 });
  const config = { ...common, ...options };
  const adapter: Trained = await makeTrained(engine, resolveConfig(config));
  const all = { engine, adapter, data, config, run, resume };
  // A reward that always tells completions apart.
  const rewards = { letters: (text: string) => text.length + [...text].filter((letter) => letter < "m").length / 100 };
  const trainer =
    method === "GRPO"
      ? new GrpoTrainer({ ...all, rewards })
      : new SftTrainer({ ...all, config: usedBy("sft", config) });
  const controller = new AbortController();
  let [made, updates] = [0, 0];
  return await trainer.train({
    signal: controller.signal,
    onStep: ({ step }) => {
      [made, updates] = [step, 0];
      if (step === stop && !stopIn) controller.abort();
    },
    onProgress: ({ phase, done, total }) => {
      onProgress?.({ phase, done, total });
      if (phase === "training" && done === 0) updates++;
      const now = phase === "training" && updates === 2 ? "second update" : phase;
      if (made === stop && now === stopIn) controller.abort();
    },
  });
}

export async function metricsOf(run: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(run, "metrics.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => ({ ...JSON.parse(line), measured: undefined }));
}

/** The file of what was trained. */
export async function productOf(run: string): Promise<Buffer> {
  const name = (await readdir(run)).find((entry) => entry === "adapter" || entry === "model")!;
  const files = ["adapter.safetensors", "model.safetensors"];
  const there = (await readdir(join(run, name))).filter((file) => files.includes(file));
  expect(there).toHaveLength(1);
  return readFile(join(run, name, there[0]!));
}
