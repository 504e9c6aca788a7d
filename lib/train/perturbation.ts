/**
 * The perturbed vectors of evolution strategies. Slot 0 holds v; completion s of a step is sampled from slot s + 1, whose
 * vector is v + sigma e (s even) or v - sigma e (s odd) with the e of its pair, n normal numbers. They come from the
 * Philox that makes P, keyed by (seed, step) and the pair: the same bits on every platform, and nothing to store.
 */
import type { Adapter } from "../adapter/adapter.js";
import type { AttachOptions } from "../adapter-slots.js";
import { DEFAULT_SIGMA, type TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { projection } from "../native/session.js";
import { randomInteger } from "../philox.js";
import type { ManyVectors, Policy } from "../policy.js";
import type { Sampler } from "./rollout.js";

export interface Perturbation {
  /** [completions][n]: e of each, with its sign. */
  readonly directions: Float32Array[];
  readonly sigma: number;
}

/** One copy of the weights and of U, S, V for v and every completion's vector. */
export function attachMembers(
  policy: Policy,
  adapter: Adapter,
  { num_prompts, num_generations }: TrainConfig,
  options?: AttachOptions,
): Promise<void> {
  const slots = 1 + num_prompts * num_generations;
  return manyVectors(policy).attach(Array<Adapter>(slots).fill(adapter), options);
}

/** Of step `step`, for v of n numbers. */
export function perturbation(n: number, step: number, config: TrainConfig): Perturbation {
  const seed = randomInteger(config.seed, "perturbation", step);
  const pairs = (config.num_prompts * config.num_generations) / 2;
  const directions = Array.from({ length: pairs }, (_, pair) => {
    const normal = projection({ seed, module: pair, u: n, rank: 1, distribution: "normal" });
    return [normal, normal.map((value) => -value)];
  }).flat();
  return { directions, sigma: config.sigma ?? DEFAULT_SIGMA };
}

/** Puts the vectors into their slots. */
export function setMembers(policy: Policy, v: Float32Array, { directions, sigma }: Perturbation): Sampler[] {
  const vectors = directions.map((direction) => v.map((value, i) => value + sigma * direction[i]!));
  const versions = manyVectors(policy).setVectors(1, vectors);
  return vectors.map((_, s) => ({ slot: s + 1, version: versions[s]! }));
}

function manyVectors({ vectors }: Policy): ManyVectors {
  if (vectors) return vectors;
  throw new TinyLoraError(
    "ERR_ARGUMENT",
    "estimator: expected an engine of its own for evolution_strategies, found one that samples from one v at a time",
  );
}
