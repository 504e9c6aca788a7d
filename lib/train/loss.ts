/**
 * The loss of a batch of completions and its gradient with respect to each token's log-probability, as in TRL.
 *
 * With l = logp - old of a token, rho = exp(l) (or exp of the mean of l over the sequence), A the advantage:
 *   grpo, bnpo, dr_grpo, dapo, luspo   -min(min(rho, delta) A, clip(rho, 1 - epsilon, 1 + epsilon_high) A)
 *   cispo                              -min(rho, epsilon_high) A logp, the ratio held constant
 *   sapo                               -4 / tau sigmoid(tau (rho - 1)) A, tau by the sign of A
 * and for every type + beta k3 [rho], k3 = exp(ref - logp) - (ref - logp) - 1. Every sequence's tokens have one weight:
 *   grpo, sapo   1 / (sequences * length)         bnpo     1 / (tokens of the pass * passes)
 *   dapo, cispo  1 / tokens of the batch          dr_grpo  1 / (sequences * max_completion_length)
 *   luspo        1 / sequences
 * Masked sequences count as sequences, their tokens do not count. Sums run in doubles, in the order of the tokens.
 */
import type { TrainConfig } from "../config/schema.js";

export type LossOptions = Pick<
  TrainConfig,
  | "loss_type"
  | "beta"
  | "use_bias_correction_kl"
  | "epsilon"
  | "epsilon_high"
  | "delta"
  | "importance_sampling_level"
  | "sapo_temperature_pos"
  | "sapo_temperature_neg"
  | "max_completion_length"
>;

/** One completion, T tokens. */
export interface LossSequence {
  /** [T] of the policy being trained */
  readonly logprobs: ArrayLike<number>;
  /** [T] of the policy that sampled */
  readonly old: ArrayLike<number>;
  /** [T] of the base model; needed when beta > 0 */
  readonly reference?: ArrayLike<number> | undefined;
  readonly advantage: number;
  /** Left out: it was cut at the length limit, and those are not to count. */
  readonly masked: boolean;
}

/** What the whole batch, of which a pass sees a part, is divided by. */
export interface Denominators {
  /** Masked ones included. */
  readonly sequences: number;
  /** Of sequences that are not masked. */
  readonly tokens: number;
  readonly passes: number;
}

export interface SequenceLoss {
  /** Share of the batch's loss. */
  readonly loss: number;
  /** [T] d(loss of the batch) / d(logprobs) */
  readonly gradient: Float64Array;
  /** Sum over the tokens. */
  readonly kl: number;
  /** Tokens whose ratio was clipped; where the sequence has one ratio, 1 or 0. */
  readonly clippedLow: number;
  readonly clippedHigh: number;
}

/** Loss and gradient of the sequences of one pass. */
export function passLoss(sequences: LossSequence[], batch: Denominators, options: LossOptions): SequenceLoss[] {
  const passTokens = sequences.reduce((sum, { masked, logprobs }) => sum + (masked ? 0 : logprobs.length), 0);
  return sequences.map((sequence) => {
    const weight = tokenWeight(sequence.logprobs.length, passTokens, batch, options);
    return sequence.masked ? nothing(sequence.logprobs.length) : sequenceLoss(sequence, weight, options);
  });
}

function tokenWeight(length: number, passTokens: number, batch: Denominators, options: LossOptions): number {
  switch (options.loss_type) {
    case "grpo":
    case "sapo":
      return 1 / (batch.sequences * Math.max(1, length));
    case "bnpo":
      return 1 / (Math.max(1, passTokens) * batch.passes);
    case "dapo":
    case "cispo":
      return 1 / Math.max(1, batch.tokens);
    case "dr_grpo":
      return 1 / (batch.sequences * options.max_completion_length);
    case "luspo":
      return 1 / batch.sequences;
  }
}

function sequenceLoss(sequence: LossSequence, weight: number, options: LossOptions): SequenceLoss {
  const { logprobs, old, reference, advantage } = sequence;
  const length = logprobs.length;
  const bySequence = options.importance_sampling_level === "sequence";
  const sequenceRatio = bySequence ? Math.exp(meanLogRatio(logprobs, old)) : 1;
  const gradient = new Float64Array(length);
  let [loss, kl, clippedLow, clippedHigh] = [0, 0, 0, 0];
  let sharedGradient = 0; // d / d(log of the sequence's ratio), summed over the tokens

  for (let t = 0; t < length; t++) {
    const logp = logprobs[t]!;
    const ratio = bySequence ? sequenceRatio : Math.exp(logp - old[t]!);
    const policy = policyTerm(logp, ratio, advantage, options);
    loss += weight * policy.value;
    gradient[t] = weight * policy.byLogprob;
    let byLogRatio = policy.byLogRatio;
    if (options.beta !== 0) {
      const gap = reference![t]! - logp;
      const k3 = Math.expm1(gap) - gap;
      const factor = options.use_bias_correction_kl ? ratio : 1;
      loss += weight * options.beta * k3 * factor;
      gradient[t]! += weight * options.beta * -Math.expm1(gap) * factor;
      byLogRatio += options.use_bias_correction_kl ? options.beta * k3 * ratio : 0;
      kl += k3 * factor;
    }
    if (bySequence) sharedGradient += weight * byLogRatio;
    else gradient[t]! += weight * byLogRatio;
    clippedLow += policy.clipped < 0 ? 1 : 0;
    clippedHigh += policy.clipped > 0 ? 1 : 0;
  }
  if (bySequence) for (let t = 0; t < length; t++) gradient[t]! += sharedGradient / length;
  const clippedRatios = (tokens: number) => (bySequence ? Math.sign(tokens) : tokens);
  return { loss, gradient, kl, clippedLow: clippedRatios(clippedLow), clippedHigh: clippedRatios(clippedHigh) };
}

interface Term {
  readonly value: number;
  /** Derivative with respect to log rho. */
  readonly byLogRatio: number;
  /** Derivative with respect to logp, the ratio held constant. */
  readonly byLogprob: number;
  /** -1, 1: the ratio lies beyond the lower, upper clip, on the side where that stops the gradient. */
  readonly clipped: -1 | 0 | 1;
}

function policyTerm(logp: number, ratio: number, advantage: number, options: LossOptions): Term {
  const high = options.epsilon_high ?? options.epsilon;
  if (options.loss_type === "cispo") {
    const held = Math.min(ratio, high);
    const clipped = ratio > high && advantage > 0 ? 1 : 0;
    return { value: -held * advantage * logp, byLogRatio: 0, byLogprob: -held * advantage, clipped };
  }
  if (options.loss_type === "sapo") {
    const tau = advantage > 0 ? options.sapo_temperature_pos : options.sapo_temperature_neg;
    const gate = 1 / (1 + Math.exp(-tau * (ratio - 1)));
    const slope = 4 * gate * (1 - gate) * ratio;
    return { value: (-4 / tau) * gate * advantage, byLogRatio: -slope * advantage, byLogprob: 0, clipped: 0 };
  }
  const [low, top] = [1 - options.epsilon, 1 + high];
  const free = Math.min(ratio, options.delta ?? Number.POSITIVE_INFINITY);
  const [plain, clippedValue] = [free * advantage, Math.min(Math.max(ratio, low), top) * advantage];
  const plainSlope = ratio === free ? ratio * advantage : 0;
  const clippedSlope = ratio >= low && ratio <= top ? ratio * advantage : 0;
  // Where both are equal the gradient is shared half and half, as torch.min does.
  const slope =
    plain < clippedValue ? plainSlope : plain > clippedValue ? clippedSlope : (plainSlope + clippedSlope) / 2;
  const clipped = free < low && advantage < 0 ? -1 : free > top && advantage > 0 ? 1 : 0;
  return { value: -Math.min(plain, clippedValue), byLogRatio: -slope, byLogprob: 0, clipped };
}

function meanLogRatio(logprobs: ArrayLike<number>, old: ArrayLike<number>): number {
  let sum = 0;
  for (let t = 0; t < logprobs.length; t++) sum += logprobs[t]! - old[t]!;
  return sum / Math.max(1, logprobs.length);
}

function nothing(length: number): SequenceLoss {
  return { loss: 0, gradient: new Float64Array(length), kl: 0, clippedLow: 0, clippedHigh: 0 };
}
