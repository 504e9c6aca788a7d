import { readFile } from "node:fs/promises";
import { describe, expect, it, vi } from "vitest";
import { advantagesOf } from "../../../lib/train/advantage.js";
import { Clock } from "../../../lib/train/clock.js";
import type { SequenceLoss } from "../../../lib/train/loss.js";
import { measuredMetrics, PassStatistics, rolloutMetrics } from "../../../lib/train/metrics.js";
import { cosine } from "../../../lib/train/norm.js";
import type { Sequence } from "../../../lib/train/pass.js";
import type { Metrics } from "../../../lib/train/reported.js";
import type { StepReport } from "../../../lib/train/run.js";
import { SftTrainer } from "../../../lib/train/sft-trainer.js";
import { Watch } from "../../../lib/train/watch.js";
import { FakePolicy } from "./fake-policy.js";
import { data, makeTrainer } from "./small-run.js";

const group = (id: string, prompt: number) => ({
  example: { id, question: "?", answer: "7", row: {} },
  prompt: new Int32Array(prompt),
  completions: [],
});
const [first, second] = [group("first", 3), group("second", 5)];

interface Given {
  group?: Sequence["group"];
  logprobs: number[];
  rewards?: (number | null)[];
  grade?: [strict: boolean, lenient: boolean, format: boolean];
  truncated?: boolean;
  masked?: boolean;
}
function sequence({ logprobs, rewards = [], truncated = false, masked = false, ...given }: Given): Sequence {
  const [strict, lenient, format] = given.grade ?? [false, false, false];
  const completion = {
    tokens: new Int32Array(logprobs.length),
    logprobs: Float32Array.from(logprobs),
    entropies: new Float32Array(logprobs.length),
    truncated,
    text: "",
    rewards,
    grade: { strict, lenient, format, answer: null },
  };
  return { group: given.group ?? first, completion, advantage: 0, masked, learns: !masked };
}

const sequences = [
  sequence({ logprobs: Array(1).fill(-1), rewards: [1, null], grade: [true, true, true] }),
  sequence({ logprobs: Array(2).fill(-1), rewards: [0, null], grade: [false, true, true] }),
  sequence({ group: second, logprobs: Array(3).fill(-1), rewards: [1, 2], grade: [false, true, false] }),
  sequence({ group: second, logprobs: Array(6).fill(-1), rewards: [1, 2], truncated: true }),
];

describe("metrics of a step", () => {
  it("tell rewards, grades and lengths", () => {
    const options = { scale_rewards: "group", multi_objective_aggregation: "sum_then_normalize" } as const;
    const scores = sequences.map(({ completion }) => completion.rewards);
    const advantages = advantagesOf(scores, [1, 0.5], 2, options);
    expect(rolloutMetrics({ sequences, advantages }, [{ name: "a" }, { name: "b" }])).toEqual({
      reward: 1.25,
      reward_std: expect.closeTo(Math.sqrt(2.75 / 3), 12),
      frac_reward_zero_std: 0.5,
      accuracy: 0.75,
      "accuracy/strict": 0.25,
      "accuracy/format": 0.5,
      "completions/mean_length": 3,
      "completions/min_length": 1,
      "completions/max_length": 6,
      "completions/clipped_ratio": 0.25,
      "rewards/a/mean": 0.75,
      "rewards/a/std": 0.5,
      "rewards/b/mean": 2,
      "rewards/b/std": 0,
    });
  });

  it("tell lengths of more completions than a call takes arguments", () => {
    const many = Array.from({ length: 2 ** 18 }, (_, i) => sequences[i % 4]!);
    const none = { rewards: [], advantages: [], zeroStd: [] };
    const found = rolloutMetrics({ sequences: many, advantages: none }, []);
    expect([found["completions/min_length"], found["completions/max_length"]]).toEqual([1, 6]);
  });

  it("tell of the passes: tokens that are not masked, of all iterations or the first", () => {
    const statistics = new PassStatistics({ sequences: 2, tokens: 2, passes: 1 }, "token");
    const loss = (value: number, kl: number, clippedLow: number, clippedHigh: number): SequenceLoss => {
      return { loss: value, gradient: new Float64Array(2), kl, clippedLow, clippedHigh };
    };
    const add = (given: Sequence, of: SequenceLoss, logprobs: number[], entropies: number[]) =>
      statistics.add(given, of, Float32Array.from(logprobs), Float32Array.from(entropies));
    const learned = sequence({ logprobs: [-1, -2] });
    add(learned, loss(0.5, 0.2, 1, 0), [-1, -2.5], [1, 3]);
    add(sequence({ logprobs: [-1], masked: true }), loss(0, 0, 0, 0), [-1], [9]);
    statistics.endIteration();
    add(learned, loss(0.25, 0.4, 0, 2), [-5, -5], [7, 7]);
    statistics.endIteration();
    expect(statistics.metrics()).toEqual({
      loss: 0.375,
      entropy: 2,
      kl: expect.closeTo(0.15, 12),
      "clip_ratio/low_mean": 0.25,
      "clip_ratio/high_mean": 0.5,
      "clip_ratio/region_mean": 0.75,
      "sampling/max_abs_dlogp": 0.5,
      "sampling/importance_sampling_ratio/mean": expect.closeTo((2 + Math.exp(-0.5)) / 3, 12),
    });
  });

  it("tell the share of sequences whose ratio was clipped, where a sequence has one", () => {
    const given = sequence({ logprobs: [-1, -2] });
    const clipped = { loss: 0, gradient: new Float64Array(2), kl: 0, clippedLow: 0, clippedHigh: 1 };
    const shares = (["token", "sequence"] as const).map((level) => {
      const statistics = new PassStatistics({ sequences: 4, tokens: 8, passes: 1 }, level);
      statistics.add(given, clipped, Float32Array.of(-1, -2), Float32Array.of(1, 1));
      statistics.endIteration();
      return statistics.metrics()["clip_ratio/high_mean"];
    });
    expect(shares).toEqual([1 / 8, 1 / 4]);
  });

  it("tell rates: of training a prompt once a group, every iteration", () => {
    const clock = new Clock();
    clock.seconds.sampling = 2;
    const sampled = { step_time: expect.any(Number), "tokens_per_second/sampling": 12 / 2, "memory/peak_rss": 9 };
    expect(measuredMetrics({ clock, sequences, rows: 40 }, 9)).toEqual({ ...sampled, "seconds/sampling": 2 });
    clock.seconds.training = 4;
    expect(measuredMetrics({ clock, sequences, rows: 40, kept: 0.5 }, 9)).toEqual({
      ...sampled,
      "activations/kept": 0.5,
      "seconds/sampling": 2,
      "seconds/training": 4,
      "tokens_per_second/training": 40 / 4,
    });
  });

  it("add up seconds, of what failed too", async () => {
    let now = 1000;
    const time = vi.spyOn(performance, "now").mockImplementation(() => now);
    const lasting = async (milliseconds: number) => {
      now += milliseconds;
    };
    const clock = new Clock();
    await clock.time("phase", () => lasting(250));
    await lasting(500); // of no phase
    const failing = () => lasting(125).then(() => Promise.reject(new Error("no")));
    await expect(clock.time("phase", failing)).rejects.toThrow("no");
    expect([clock.seconds, clock.total]).toEqual([{ phase: 0.375 }, 0.875]);
    time.mockRestore();
  });

  it("tell the cosine of two gradients where there are two", () => {
    const gradient = Float64Array.of(3, 4);
    expect(cosine(gradient, Float64Array.of(8, 6))).toBeCloseTo(24 / 25, 12);
    expect(cosine(gradient, null)).toBeNaN();
    expect(cosine(gradient, Float64Array.of(3, 4, 0))).toBeNaN();
  });
});

it("all names that runs report are told by the types, and no others", async () => {
  const source = await readFile(new URL("../../../lib/train/reported.ts", import.meta.url), "utf8");
  const [metrics, measured] = source.split("export type Measured");
  const declared = /^ {2}readonly \W*(?:\w+: `)?(.*?)["`\]]*\??: number;$/gm;
  const told = (text: string) =>
    Array.from(text.matchAll(declared), ([, name]) => name!.replace(/\$\{\w+\}/, "sevens"));
  const found = { metrics: new Set<string>(), measured: new Set<string>() };
  const onStep = (report: StepReport) => {
    for (const part of ["metrics", "measured"] as const) {
      for (const name of Object.keys(report[part])) found[part].add(name);
    }
  };
  await makeTrainer({ config: { beta: 0.1, max_steps: 1, keep_activations: true } }).train({ onStep });
  expect([...found.metrics].sort()).toEqual(told(metrics!).sort());
  expect([...found.measured].sort()).toEqual(told(measured!).sort());
  const engine = new FakePolicy();
  const taught = data.train.map((problem) => ({ ...problem, row: { solution: "7" } }));
  const config = { num_prompts: 2, max_steps: 1, eval_steps: 0 };
  await new SftTrainer({ engine, adapter: engine.adapter(), data: { ...data, train: taught }, config }).train({
    onStep,
  });
  expect([...found.metrics].sort()).toEqual(told(metrics!).sort());
  expect([...found.measured].sort()).toEqual(told(measured!).sort());
});

it("a step that makes no pass tells of nothing that was kept", async () => {
  const config = { max_steps: 1, keep_activations: true };
  const onStep = vi.fn(({ measured }: StepReport) => expect(measured).not.toHaveProperty("activations/kept"));
  await makeTrainer({ rewards: { same: () => 1 }, config }).train({ onStep });
  expect(onStep).toHaveBeenCalledTimes(2); // before the first step, too
});

describe("Watch", () => {
  const clipped = (share: number): Metrics => ({ "completions/clipped_ratio": share, "sampling/max_abs_dlogp": 0 });
  function watched(steps: { metrics?: Metrics; given?: Sequence[]; kept?: number }[], names = ["a"]): string[] {
    const warnings: string[] = [];
    const watch = new Watch(
      names.map((name) => ({ name, reward: () => 0 })),
      (message) => void warnings.push(message),
    );
    for (const { metrics = clipped(0), given = sequences, kept } of steps) {
      watch.see({ sequences: given, metrics, kept } as Parameters<Watch["see"]>[0]);
    }
    return warnings;
  }
  const times = (count: number, metrics: Metrics) => Array.from({ length: count }, () => ({ metrics }));

  it("warns once where most completions were cut in ten steps on end", () => {
    expect(watched([...times(9, clipped(0.6)), ...times(1, clipped(0.5)), ...times(9, clipped(0.6))])).toEqual([]);
    expect(watched(times(25, clipped(0.6)))).toEqual([
      "more than half of the completions were cut in each of 10 steps: raise max_completion_length",
    ]);
  });

  it("warns once where the sampler disagrees with the passes", () => {
    const metrics = { ...clipped(0), "sampling/max_abs_dlogp": 0.25 };
    expect(watched(times(2, metrics))).toEqual([
      "log-probabilities of sampling and training differ by up to 0.25: expected 0 with this engine",
    ]);
    expect(watched([{ metrics: { "completions/clipped_ratio": 0 } }])).toEqual([]);
  });

  it("warns once where the cache had no room for what was to be kept", () => {
    expect(watched([{ kept: 0.9 }, { kept: 1 }])).toEqual([]);
    expect(watched([{ kept: 0.123 }, { kept: 0 }])).toEqual([
      "keep_activations: 12 % of a step's rows were still there for the backward pass: raise cache_tokens",
    ]);
  });

  it("warns of a reward that never varied, within a step or from one to the next", () => {
    const rewarded = (...rewards: (number | null)[]) => ({
      given: rewards.map((reward) => sequence({ logprobs: [-1], rewards: [reward] })),
    });
    const same = Array.from({ length: 10 }, () => rewarded(null, null));
    expect(watched(same)).toEqual([
      'reward "a" was null for every completion of 10 steps: nothing can be learned from it',
    ]);
    expect(watched(same.slice(1))).toEqual([]);
    expect(watched([rewarded(0), ...same])).toEqual([]);
    expect(watched([rewarded(0, 1), ...same, ...same])).toEqual([]);
  });
});
