/**
 * The gradient of v by parts of a step: what every problem's completions add to it and, where the optimiser wants them,
 * the gradient of every completion's log-probability. Both come from the passes that train, not from more of them.
 *
 * At the policy that sampled, a loss without KL weighs all tokens of a completion alike: d(loss) = c d(log p), c one number
 * a completion. So passes that are told apart by sequence have one backward pass, from one number a token, and the loss
 * is put in here.
 */

import type { Policy } from "../policy.js";
import type { SequenceLoss } from "./loss.js";
import { type Pass, type Sequence, valuesOf } from "./pass.js";
import type { Group } from "./rollout.js";

/**
 * What a token counts in a backward pass for log p, to be taken out again, exactly: as much as in a loss, about 1 / tokens.
 * With 1 the backward pass of an fp16 engine, which is scaled up for losses, would overflow.
 */
const TOKEN = 2 ** -10;

/** How far the gradient is told apart. */
export type Parts = "group" | "sequence" | "none";

export class GradientParts {
  readonly #of: Parts;
  readonly #numbers: number;
  readonly #shares: Map<Group, Float64Array>;
  readonly #scores: Float64Array[] = [];

  /** `numbers`: of v. */
  constructor(of: Parts, numbers: number, groups: readonly Group[]) {
    this.#of = of;
    this.#numbers = of === "none" ? 0 : numbers;
    this.#shares = new Map(groups.map((group) => [group, new Float64Array(this.#numbers)]));
  }

  /** Whether the pass is to be made: some sequence of it learns, or each is told apart. */
  wants({ sequences }: Pass): boolean {
    return this.#of === "sequence" || sequences.some(({ learns }) => learns);
  }

  /** Of one pass, with the losses of its sequences. */
  async backward(policy: Policy, pass: Pass, losses: readonly SequenceLoss[], signal?: AbortSignal): Promise<void> {
    const dLogprobs = new Float32Array(pass.rows);
    for (const [i, { gradient }] of losses.entries()) {
      if (this.#of === "sequence") valuesOf(pass, i, dLogprobs).fill(TOKEN);
      else dLogprobs.set(gradient, pass.offsets[i]!);
    }
    if (this.#of === "none") return policy.backward(dLogprobs, signal);
    const scaled = await policy.backwardParts(dLogprobs, pass.parts, pass.batch.slots[0]!, signal);
    const parts = this.#of === "sequence" ? scaled.map((value) => value / TOKEN) : scaled;
    const partOf = (i: number) =>
      parts.subarray(pass.partOf[i]! * this.#numbers, (pass.partOf[i]! + 1) * this.#numbers);
    for (const [i, { group }] of pass.sequences.entries()) {
      if (this.#of === "sequence") {
        this.#scores.push(partOf(i));
        this.#add(group, partOf(i), losses[i]!.gradient[0]!);
      } else if (pass.partOf[i] !== pass.partOf[i - 1]) this.#add(group, partOf(i), 1);
    }
  }

  /** d(loss)/dv of each problem's completions, in the order of the batch; none where nothing is told apart. */
  shares(): Float64Array[] {
    return this.#of === "none" ? [] : [...this.#shares.values()];
  }

  /** d(loss)/dv and d(log p)/dv of every completion, where these were told apart. */
  estimate(sequences: readonly Sequence[]): Estimate | undefined {
    if (this.#of !== "sequence") return undefined;
    const tokens = sequences.reduce((sum, { completion }) => sum + completion.tokens.length, 0);
    return { gradient: sumOf(this.shares(), this.#numbers), scores: this.#scores, tokens };
  }

  #add(group: Group, part: Float64Array, factor: number): void {
    const share = this.#shares.get(group)!;
    for (let i = 0; i < share.length; i++) share[i]! += factor * part[i]!;
  }
}

/** A gradient of v that the policy did not add up itself. */
export interface Estimate {
  readonly gradient: Float64Array;
  /** d(log p)/dv of every completion, and how many tokens they have together: for the Fisher matrix. */
  readonly scores?: readonly Float64Array[];
  readonly tokens?: number;
}

export function sumOf(vectors: readonly Float64Array[], numbers: number): Float64Array {
  const sum = new Float64Array(numbers);
  for (const vector of vectors) for (let i = 0; i < numbers; i++) sum[i]! += vector[i]!;
  return sum;
}
