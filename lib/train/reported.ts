/** What a step reports, under TRL's names where it has them. NaN (nothing to report) becomes null in metrics.jsonl. */

/** The same bits for the same state, on any machine of the same kind. A name is missing where it does not apply. */
export type Metrics = {
  /** Passes over the training problems so far. */
  readonly epoch?: number;
  /** Of this step, by the schedule. */
  readonly learning_rate?: number;
  /** What was minimised: mean over the step's iterations; of SFT the mean of -log p over the answers' tokens. */
  readonly loss?: number;
  /** In nats: mean over the tokens that are learned, under the policy that sampled; of SFT under the one before the update. */
  readonly entropy?: number;
  /** Euclidean norm of the last iteration's gradient before `max_grad_norm` cut it. */
  readonly grad_norm?: number;
  /** Tokens seen in training so far, prompts counted once a completion. */
  readonly num_tokens?: number;

  /** Mean over the completions of the weighted sum of their rewards. */
  readonly reward?: number;
  /** Standard deviation of that sum over all completions. */
  readonly reward_std?: number;
  /** Share of groups whose rewards are all equal, from which nothing is learned. */
  readonly frac_reward_zero_std?: number;
  /** Of one reward, by its name: over the completions that it applies to. */
  readonly [mean: `rewards/${string}/mean`]: number;
  /** Standard deviation of one reward, by its name. */
  readonly [deviation: `rewards/${string}/std`]: number;
  /** Share of the completions whose answer is right. */
  readonly accuracy?: number;
  /** Share of those that say the right answer where it was asked for: after `####` or in \boxed{}. */
  readonly "accuracy/strict"?: number;
  /** Share of those that say an answer there, right or wrong. */
  readonly "accuracy/format"?: number;
  /** Tokens of a completion. */
  readonly "completions/mean_length"?: number;
  readonly "completions/min_length"?: number;
  readonly "completions/max_length"?: number;
  /** Share of completions that were cut at `max_completion_length`. */
  readonly "completions/clipped_ratio"?: number;

  /** Mean over tokens of the estimated divergence from the base model; 0 where `beta` is 0. */
  readonly kl?: number;
  /** Share of tokens, or of sequences where each has one ratio, whose ratio was clipped from below. */
  readonly "clip_ratio/low_mean"?: number;
  /** The same from above. */
  readonly "clip_ratio/high_mean"?: number;
  /** The sum of both. */
  readonly "clip_ratio/region_mean"?: number;
  /** Largest difference between a token's log-probability when it was sampled and in the first training pass: 0. */
  readonly "sampling/max_abs_dlogp"?: number;
  /** Mean of p(training) / p(sampling) over the tokens of the first pass: 1. */
  readonly "sampling/importance_sampling_ratio/mean"?: number;

  /** Trace of the covariance of the problems' gradients (docs/method.md, "Noise scale"). */
  readonly "gradient/variance"?: number;
  /** Estimated square of the true gradient's norm; may be negative. */
  readonly "gradient/squared_norm"?: number;
  /** Problems a step at which noise and signal are even; NaN where the estimate before is not positive. */
  readonly "gradient/noise_scale"?: number;
  /** Cosine between this step's gradient and that of the step before; NaN in the first. */
  readonly grad_cosine?: number;
  /** Euclidean norm of v as it is used. */
  readonly v_norm?: number;

  /** As `accuracy`, of greedy answers to held-out problems, in the steps that `eval_steps` names. */
  readonly "eval/lenient"?: number;
  /** As `accuracy/strict`. */
  readonly "eval/strict"?: number;
  /** As `accuracy/format`. */
  readonly "eval/format"?: number;
  /** Tokens of a completion. */
  readonly "eval/mean_length"?: number;
  /** Share of completions that were cut at `max_completion_length`. */
  readonly "eval/clipped_ratio"?: number;
  /** How many problems were asked. */
  readonly "eval/problems"?: number;
};

/** What differs from run to run. Rates count a step's own tokens: sampled ones, and rows of the training passes. */
export type Measured = {
  /** Seconds of the whole step, without its evaluation. */
  readonly step_time?: number;
  readonly "seconds/sampling"?: number;
  /** Of the base model's log-probabilities, where `beta` is not 0. */
  readonly "seconds/reference"?: number;
  readonly "seconds/training"?: number;
  readonly "seconds/evaluation"?: number;
  readonly "tokens_per_second/sampling"?: number;
  readonly "tokens_per_second/training"?: number;
  /** With `keep_activations`: the share of the rows before the first update whose forward pass was the sampler's. */
  readonly "activations/kept"?: number;
  /** Bytes, the most that this process has held so far. */
  readonly "memory/peak_rss"?: number;
};
