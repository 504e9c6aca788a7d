/** What is kept for the backward pass on the native engine, less of it or more: other memory, the same bits. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  Engine,
  GrpoTrainer,
  makeTrained,
  readRunInfo,
  resolveConfig,
  SftTrainer,
  type TrainOptions,
} from "../../lib/index.js";
import { readMetrics } from "../../lib/run/metrics-file.js";
import { writeTinyModel } from "../tiny-model.js";

type AnyTrainer = typeof GrpoTrainer | typeof SftTrainer;

let folder: string;
let model: string;
let base: TrainOptions;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tinylora-kept-activations-"));
  process.env.TINYLORA_CACHE = join(folder, "cache");
  model = await writeTinyModel(join(folder, "model"));
  const data = join(folder, "sums.jsonl");
  const rows = Array.from({ length: 20 }, (_, i) => ({ question: `${i}+1?`, solution: `#### ${i + 1}` }));
  await writeFile(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  base = {
    ...{ data, shots: 0, prompt_style: "text", num_prompts: 3, num_generations: 4, max_completion_length: 8 },
    ...{ max_steps: 2, eval_steps: 0, rewards: ["digits"], learning_rate: 0.05, token_budget: 60 },
  };
});
afterAll(() => rm(folder, { recursive: true }));

/** A run in a folder of this name, on an engine of its own. */
async function train(
  name: string,
  options: TrainOptions,
  { Trainer = GrpoTrainer, resume = false }: { Trainer?: AnyTrainer; resume?: boolean } = {},
) {
  const engine = await Engine.load(model, { threads: 2, maxSequences: 7, cacheTokens: 2048 });
  const run = join(folder, name);
  const config = { ...base, ...options };
  try {
    const adapter = await makeTrained(engine, resolveConfig(config));
    const kept: unknown[] = [];
    await new Trainer({ engine, adapter, config, run, resume }).train({
      onStep: ({ measured }) => void kept.push(measured["activations/kept"]),
    });
    const weights = config.adapter === "full" ? "model/model.safetensors" : "adapter/adapter.safetensors";
    return {
      run,
      results: { metrics: await readMetrics(run), weights: await readFile(join(run, weights), "base64") },
      activations: engine.memory().activations,
      kept,
    };
  } finally {
    engine.dispose();
  }
}

const methods: [string, TrainOptions, AnyTrainer][] = [
  ["policy gradient", {}, GrpoTrainer],
  ["natural gradient", { optim: "natural", learning_rate: 0.5 }, GrpoTrainer],
  ["KL divergence", { beta: 0.1, num_iterations: 2 }, GrpoTrainer],
  ["all weights", { adapter: "full", learning_rate: 1e-3 }, GrpoTrainer],
  ["sft", { adapter: "lora", num_generations: undefined, rewards: undefined }, SftTrainer],
];

it.each(methods)("changes nothing but the memory: %s", async (name, options, Trainer) => {
  const plain = await train(`${name}-plain`, options, { Trainer });
  const checkpointed = await train(name, { ...options, gradient_checkpointing: true }, { Trainer });
  expect(checkpointed.results).toEqual(plain.results);
  expect(checkpointed.activations).toBeLessThan(plain.activations);
});

it.each(methods.filter(([name]) => name !== "sft"))("needs no forward pass: %s", async (name, options, Trainer) => {
  const plain = await train(`${name}-forward`, options, { Trainer });
  for (const gradient_checkpointing of [false, true]) {
    const kept = { ...options, keep_activations: true, gradient_checkpointing };
    const found = await train(`${name}-kept-${gradient_checkpointing}`, kept, { Trainer });
    expect(found.results).toEqual(plain.results);
    expect(found.activations).toBeGreaterThan(plain.activations);
    expect([plain.kept, found.kept]).toEqual([
      [undefined, undefined],
      [1, 1],
    ]);
  }
});

it("may begin in the middle of a run", async () => {
  const whole = await train("whole", {});
  await train("parts", { max_steps: 1 });
  const changes = { max_steps: 2, gradient_checkpointing: true, keep_activations: true };
  const parts = await train("parts", changes, { resume: true });
  expect(parts.results).toEqual(whole.results);
  expect((await readRunInfo(parts.run)).config).toMatchObject(changes);
});
