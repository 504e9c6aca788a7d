/** Completions packed into forward passes of at most token_budget rows; completions of one group share their prompt. */
import { TinyLoraError } from "../error.js";
import type { ForwardBatch } from "../native/addon.js";
import type { Completion, Group } from "./rollout.js";

/** One completion and what the loss needs to know of it. */
export interface Sequence {
  readonly group: Group;
  readonly completion: Completion;
  readonly advantage: number;
  /** Left out of the loss. */
  readonly masked: boolean;
  /** Whether the loss can change with it. */
  readonly learns: boolean;
}

export interface Pass {
  readonly sequences: Sequence[];
  /** [sequences]: where each one's tokens start in the batch. */
  readonly offsets: number[];
  readonly rows: number;
  /** [sequences of the batch]: a prompt and what shares it are a part. */
  readonly parts: Int32Array;
  /** [sequences]: the part of each. */
  readonly partOf: number[];
  /** Without `keep`. */
  readonly batch: Omit<ForwardBatch, "keep">;
}

interface Packing {
  /** Most rows of a pass. */
  readonly tokenBudget: number;
  readonly temperature: number;
  /** -1 is the base model. */
  readonly slot: number;
  /** Every sequence has a prompt of its own: the gradient of a shared one cannot be told apart by sequence. */
  readonly ownPrompts?: boolean;
}

/** Sequences of one group must be neighbours. */
export function packPasses(sequences: readonly Sequence[], packing: Packing): Pass[] {
  const { tokenBudget, ownPrompts = false } = packing;
  const passes: Sequence[][] = [];
  let rows = 0;
  for (const sequence of sequences) {
    const { group, completion } = sequence;
    const current = passes.at(-1);
    const shared = !ownPrompts && current?.at(-1)?.group === group;
    const alone = group.prompt.length + completion.tokens.length;
    if (alone > tokenBudget) {
      throw new TinyLoraError(
        "ERR_CONFIG",
        `token_budget: expected at least ${alone} for the prompt and a completion of ${group.example.id}, found ${tokenBudget}`,
      );
    }
    const added = shared ? completion.tokens.length : alone;
    if (current && rows + added <= tokenBudget) {
      current.push(sequence);
      rows += added;
    } else {
      passes.push([sequence]);
      rows = alone;
    }
  }
  return passes.map((members) => toPass(members, packing));
}

function toPass(sequences: Sequence[], { temperature, slot, ownPrompts = false }: Packing): Pass {
  const tokens: number[] = [];
  const starts: number[] = [];
  const parents: number[] = [];
  const offsets: number[] = [];
  const parts: number[] = [];
  const partOf: number[] = [];
  let prompt = -1;
  for (const [i, { group, completion }] of sequences.entries()) {
    if (i === 0 || ownPrompts || sequences[i - 1]!.group !== group) {
      prompt = parents.length;
      parts.push(i === 0 ? 0 : parts.at(-1)! + 1);
      starts.push(tokens.length);
      parents.push(-1);
      for (const token of group.prompt) tokens.push(token);
    }
    offsets.push(tokens.length);
    starts.push(tokens.length);
    parents.push(prompt);
    parts.push(parts.at(-1)!);
    partOf.push(parts.at(-1)!);
    for (const token of completion.tokens) tokens.push(token);
  }
  const count = parents.length;
  return {
    sequences,
    offsets,
    rows: tokens.length,
    parts: Int32Array.from(parts),
    partOf,
    batch: {
      tokens: Int32Array.from(tokens),
      starts: Int32Array.from([...starts, tokens.length]),
      parents: Int32Array.from(parents),
      slots: new Int32Array(count).fill(slot),
      scored: Uint8Array.from(parents, (parent) => (parent < 0 ? 0 : 1)),
      temperatures: new Float32Array(count).fill(temperature),
    },
  };
}

/** The numbers of one sequence, out of those of its pass. */
export function valuesOf(pass: Pass, index: number, values: Float32Array): Float32Array {
  const start = pass.offsets[index]!;
  return values.subarray(start, start + pass.sequences[index]!.completion.tokens.length);
}
