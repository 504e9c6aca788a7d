/** A run of four steps on a policy that stands for an engine: what tests of trainers begin from. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import type { TrainOptions } from "../../../lib/config/schema.js";
import type { Dataset } from "../../../lib/data/load.js";
import type { Reward } from "../../../lib/reward/reward.js";
import { GrpoTrainer, type GrpoTrainerOptions } from "../../../lib/train/grpo-trainer.js";
import { FakePolicy } from "./fake-policy.js";

export const problem = (id: string) => ({ id, question: `question ${id}`, answer: "7", row: {} });
export const data: Dataset = {
  name: "fake",
  train: Array.from({ length: 10 }, (_, i) => problem(`fake/train/${i + 1}`)),
  test: Array.from({ length: 3 }, (_, i) => problem(`fake/test/${i + 1}`)),
};
export const sevens: Reward = async (completion) => {
  await new Promise((resolve) => setTimeout(resolve, completion.length % 3));
  return [...completion].filter((letter) => letter === "7").length / Math.max(1, completion.length);
};
export const small: TrainOptions = {
  num_prompts: 3,
  num_generations: 4,
  max_completion_length: 8,
  max_steps: 4,
  eval_steps: 2,
  learning_rate: 0.1,
  save_steps: 1,
  save_total_limit: 2,
};

export function makeTrainer(options: Partial<GrpoTrainerOptions> & { policy?: FakePolicy } = {}): GrpoTrainer {
  const { policy = new FakePolicy(), config, ...rest } = options;
  return new GrpoTrainer({
    engine: policy,
    adapter: policy.adapter(),
    data,
    rewards: { sevens },
    config: { ...small, ...config },
    ...rest,
  });
}

export function base(): Pick<GrpoTrainerOptions, "engine" | "adapter" | "config"> {
  const engine = new FakePolicy();
  return { engine, adapter: engine.adapter(), config: small };
}

export async function metricsOf(run: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(run, "metrics.jsonl"), "utf8");
  return text
    .trim()
    .split("\n")
    .map((line) => {
      const { measured, ...metrics } = JSON.parse(line) as Record<string, unknown>;
      expect(measured).toBeTypeOf("object");
      return metrics;
    });
}

export const newest = (run: string, step: number) =>
  readFile(join(run, "checkpoints", `step-${step}`, "state.json"), "utf8");
