import type { TrainConfig } from "../config/schema.js";
import { mean, standardDeviation } from "../mean.js";
import type { NamedReward } from "../reward/reward.js";
import type { Experience } from "./experience.js";
import type { Denominators, SequenceLoss } from "./loss.js";
import type { Sequence } from "./pass.js";
import type { Measured, Metrics } from "./reported.js";
import type { StepResult } from "./step.js";

/** Rewards, grades and lengths of a step's completions. */
export function rolloutMetrics(
  { sequences, advantages }: Pick<Experience, "sequences" | "advantages">,
  rewards: readonly Pick<NamedReward, "name">[],
): Metrics {
  const share = (test: (sequence: Sequence) => boolean) => mean(sequences.map((sequence) => (test(sequence) ? 1 : 0)));
  const lengths = sequences.map(({ completion }) => completion.tokens.length);
  const ofRewards: { [name: `rewards/${string}`]: number } = {};
  for (const [k, { name }] of rewards.entries()) {
    const values = sequences.map(({ completion }) => completion.rewards[k] ?? Number.NaN);
    ofRewards[`rewards/${name}/mean`] = mean(values);
    ofRewards[`rewards/${name}/std`] = standardDeviation(values);
  }
  return {
    reward: mean(advantages.rewards),
    reward_std: standardDeviation(advantages.rewards),
    frac_reward_zero_std: mean(advantages.zeroStd.map(Number)),
    accuracy: share(({ completion }) => completion.grade.lenient),
    "accuracy/strict": share(({ completion }) => completion.grade.strict),
    "accuracy/format": share(({ completion }) => completion.grade.format),
    "completions/mean_length": mean(lengths),
    "completions/min_length": lengths.reduce((least, length) => Math.min(least, length)),
    "completions/max_length": lengths.reduce((most, length) => Math.max(most, length)),
    "completions/clipped_ratio": share(({ completion }) => completion.truncated),
    ...ofRewards,
  };
}

/** Sums over the tokens of a step. */
export class PassStatistics {
  readonly #batch: Denominators;
  /** What has a ratio: tokens that are not masked, or sequences. */
  readonly #ratios: number;
  #iterations = 0;
  #loss = 0;
  #clippedLow = 0;
  #clippedHigh = 0;
  #kl = 0;
  /** Of the first iteration, where the policy is the one that sampled. */
  #entropy = 0;
  #compared = 0;
  #ratio = 0;
  #maxDifference = 0;

  constructor(batch: Denominators, level: TrainConfig["importance_sampling_level"]) {
    this.#batch = batch;
    this.#ratios = level === "sequence" ? batch.sequences : batch.tokens;
  }

  add(sequence: Sequence, loss: SequenceLoss, logprobs: Float32Array, entropies: Float32Array): void {
    this.#loss += loss.loss;
    this.#clippedLow += loss.clippedLow;
    this.#clippedHigh += loss.clippedHigh;
    this.#kl += loss.kl;
    if (this.#iterations > 0) return;
    for (let t = 0; t < logprobs.length; t++) {
      const difference = logprobs[t]! - sequence.completion.logprobs[t]!;
      this.#maxDifference = Math.max(this.#maxDifference, Math.abs(difference)); // NaN stays NaN
      this.#ratio += Math.exp(difference);
      this.#entropy += sequence.masked ? 0 : entropies[t]!;
    }
    this.#compared += logprobs.length;
  }

  endIteration(): void {
    this.#iterations++;
  }

  metrics(): Metrics {
    const low = this.#clippedLow / this.#ratios / this.#iterations;
    const high = this.#clippedHigh / this.#ratios / this.#iterations;
    return {
      loss: this.#loss / this.#iterations,
      entropy: this.#entropy / this.#batch.tokens,
      kl: this.#kl / this.#batch.tokens / this.#iterations,
      "clip_ratio/low_mean": low,
      "clip_ratio/high_mean": high,
      "clip_ratio/region_mean": low + high,
      "sampling/max_abs_dlogp": this.#maxDifference,
      "sampling/importance_sampling_ratio/mean": this.#ratio / this.#compared,
    };
  }
}

type Timed = Pick<StepResult, "clock" | "sequences" | "rows" | "kept">;

/** Seconds, rates and memory of a step. */
export function measuredMetrics({ clock, sequences, rows, kept }: Timed, peakRss: number): Measured {
  const sampled = sequences.reduce((sum, { completion }) => sum + completion.tokens.length, 0);
  const seconds = Object.entries(clock.seconds).map(([phase, value]) => [`seconds/${phase}`, value]);
  return {
    step_time: clock.total,
    ...Object.fromEntries(seconds),
    "tokens_per_second/sampling": sampled / clock.seconds.sampling!,
    ...(clock.seconds.training && { "tokens_per_second/training": rows / clock.seconds.training }),
    ...(kept !== undefined && { "activations/kept": kept }),
    "memory/peak_rss": peakRss,
  };
}
