import { describe, expect, it } from "vitest";
import type { Adapter } from "../../../lib/adapter/adapter.js";
import { resolveConfig } from "../../../lib/config/config.js";
import type { TrainConfig, TrainOptions } from "../../../lib/config/schema.js";
import { Epochs } from "../../../lib/data/order.js";
import type { SampleEvent, SampleRequest } from "../../../lib/native/addon.js";
import type { ManyVectors } from "../../../lib/policy.js";
import { evolutionStep } from "../../../lib/train/evolution.js";
import { perturbation } from "../../../lib/train/perturbation.js";
import type { TrainState } from "../../../lib/train/state.js";
import { makeTrainable } from "../../../lib/train/trainable.js";
import { FakePolicy } from "./fake-policy.js";

const SLOPE = [1, -2, 0.5, 0, 3];

/** Says from which slot it sampled; a reward can then be any function of that slot's v. */
class SlotPolicy extends FakePolicy {
  slots: Float32Array[] = [];
  attached = 0;
  /** Slots whose completions are cut. */
  cut: readonly number[] = [];
  override readonly tokenizer = {
    encode: () => [1],
    encodeChat: () => [1],
    decode: (tokens: Int32Array) => String(tokens[0]),
    stopTokens: [0],
  };
  readonly vectors: ManyVectors = {
    attach: async (adapters, { signal } = {}) => {
      signal?.throwIfAborted();
      this.attached = adapters.length;
    },
    setVectors: (first, vectors) => {
      for (const [i, v] of vectors.entries()) this.slots[first + i] = v;
      return vectors.map(() => 7);
    },
  };
  override submit({ slot }: Omit<SampleRequest, "id">, onEvent: (event: SampleEvent) => void): () => void {
    const sampled = {
      tokens: Int32Array.of(slot),
      logprobs: Float32Array.of(0),
      entropies: Float32Array.of(0),
      version: 7,
    };
    const reason = this.cut.includes(slot) ? "length" : "stop";
    queueMicrotask(() => onEvent({ type: "finished", id: 0, completion: 0, reason, ...sampled }));
    return () => {};
  }
}

const problem = { id: "one", question: "?", answer: "7", row: {} };
const options: TrainOptions = {
  estimator: "evolution_strategies",
  sigma: 0.01,
  num_prompts: 4,
  num_generations: 1000,
  max_completion_length: 8,
  scale_rewards: "none",
  optim: "sgd",
  learning_rate: 1,
  max_grad_norm: 0,
};

async function step(config: TrainConfig, value: (v: Float32Array) => number, cut: readonly number[] = []) {
  const policy = new SlotPolicy();
  policy.cut = cut;
  const trainable = makeTrainable(policy, policy.adapter(), config);
  await trainable.attach();
  const reward = (completion: string) => value(policy.slots[Number(completion)]!);
  const context = { policy, trainable, config, onProgress: () => {} };
  const rewards = [{ name: "of v", reward }];
  const state: TrainState = { step: 0, tokens: 0, optimizer: trainable.firstState(), lastGradient: null };
  const result = await evolutionStep({ ...context, examples: new Epochs([problem], config.seed), rewards }, state);
  return { policy, result, v: (trainable.result(result.state.optimizer) as Adapter).v };
}

describe("evolution strategies", () => {
  it("climb the slope of the reward", async () => {
    const { policy, result, v } = await step(resolveConfig(options), (own) =>
      own.reduce((sum, value, i) => sum + SLOPE[i]! * value, 10),
    );
    expect(policy.attached).toBe(4001);
    const size = Math.hypot(...SLOPE);
    const error = Math.hypot(...SLOPE.map((slope, i) => v[i]! - slope)) / size;
    expect(error).toBeLessThan(2 * Math.sqrt((SLOPE.length + 1) / 2000)); // 2,000 independent directions
    expect(result.metrics.grad_norm! / size).toBeCloseTo(1, 1);
    expect(result.metrics).not.toHaveProperty("sampling/max_abs_dlogp");
    expect(result.metrics).toMatchObject({
      epoch: 4,
      learning_rate: 1,
      "completions/mean_length": 1,
      "gradient/variance": expect.any(Number),
      grad_cosine: Number.NaN,
      v_norm: expect.closeTo(Math.hypot(...v), 6),
      num_tokens: 4000 * 2,
    });
    expect(Math.hypot(...result.state.lastGradient!)).toBeCloseTo(result.metrics.grad_norm!, 10);
    const scores = result.sequences.map(({ completion }) => completion.rewards[0]!);
    expect(result.metrics.reward).toBeCloseTo(scores.reduce((sum, score) => sum + score, 0) / 4000, 10);
  });

  it("leave a masked completion out of the estimate, and count it", async () => {
    const masking = { ...options, num_prompts: 1, num_generations: 2, learning_rate: 2 };
    const reward = (own: Float32Array) => own[0]!;
    const cut = (config: TrainOptions) => step(resolveConfig({ ...masking, ...config }), reward, [2]);
    const [both, one] = [await cut({}), await cut({ mask_truncated_completions: true })];
    // Both of a pair add the same: their directions and advantages are opposite.
    for (const [i, value] of one.v.entries()) expect(value).toBeCloseTo(both.v[i]! / 2, 5);
    expect(Math.hypot(...one.v)).toBeGreaterThan(0);
    expect(one.result.metrics["completions/clipped_ratio"]).toBe(0.5);
    // Those that are cut, not the others.
    expect(one.result.sequences.map(({ masked }) => masked)).toEqual([false, true]);
    expect(one.result.sequences.map(({ completion }) => completion.truncated)).toEqual([false, true]);
    expect(both.result.sequences.map(({ masked }) => masked)).toEqual([false, false]);
  });

  it("are given up while they are attached", async () => {
    const policy = new SlotPolicy();
    const trainable = makeTrainable(policy, policy.adapter(), resolveConfig(options));
    await expect(trainable.attach({ signal: AbortSignal.abort() })).rejects.toThrow(/abort/);
    expect(policy.attached).toBe(0);
  });

  it("see nothing in what both of a pair agree on", async () => {
    const { v } = await step(resolveConfig({ ...options, num_generations: 8 }), (own) => own[0]! ** 2);
    for (const value of v) expect(Math.abs(value)).toBeLessThan(1e-6);
  });
});

describe("perturbation", () => {
  const config = resolveConfig({ ...options, num_prompts: 2, num_generations: 4, sigma: null });
  it("comes in pairs of opposites, by (seed, step)", () => {
    const { directions, sigma } = perturbation(5, 3, config);
    expect(sigma).toBe(0.02);
    expect(directions).toHaveLength(8);
    for (let s = 0; s < 8; s += 2) {
      expect([...directions[s + 1]!]).toEqual([...directions[s]!].map((value) => -value));
    }
    expect(new Set(directions.map((direction) => direction[0])).size).toBe(8);
    expect(perturbation(5, 3, config).directions).toEqual(directions);
    expect(perturbation(5, 4, config).directions[0]).not.toEqual(directions[0]);
    expect(perturbation(5, 3, { ...config, seed: 1 }).directions[0]).not.toEqual(directions[0]);
  });

  it("is standard normal", () => {
    const numbers = perturbation(500, 1, { ...config, num_prompts: 20 }).directions.filter((_, s) => s % 2 === 0);
    const all = numbers.flatMap((direction) => [...direction]);
    const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
    const variance = all.reduce((sum, value) => sum + value * value, 0) / all.length;
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(all.length));
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(2 / all.length));
  });
});
