/**
 * Counters of what a GRPO step of one run and of a population launches, for estimate-population.ts: a decode step, a
 * pass over prompts, a training pass. Attention is counted with all its blocks, since they are not alike: on one group
 * and one head of keys of a narrow model, whose other products cost nothing.
 */
import { MODELS } from "../../bin/shapes.js";
import { CountedModel, type DecodeCounts, type PassCounts, startCounting } from "../../lib/index.js";
import type { ForwardBatch } from "../../lib/native/addon.js";
import { answer, countInProcess } from "./counting-process.js";

/** Of a run: 4 prompts of 128 tokens, 4 completions each. */
export const PROMPTS = 4;
export const SAMPLES = 4;
export const PROMPT = 128;
export const MEMBERS = 16;
export const RANK = 2;
/** Rows of the training pass that is counted: all of a run with 256 new tokens. */
export const TRAINING_ROWS = PROMPTS * (PROMPT + SAMPLES * 256);
/** Of its sequences, as many as one pass of the head (2,048 rows) holds; a sequence's first token is not scored. */
const SCORED_SEQUENCES = 16;
export const SCORED_ROWS = SCORED_SEQUENCES * (PROMPT - 1);
/** Tokens before the decode step that is counted: less than a split of attention's keys, so that no sequence reads another's. */
export const CONTEXT = 96;
/** New tokens of the group whose attention is counted. */
export const ATTENTION_TOKENS = 128;

export interface StepCounts {
  readonly model: string;
  readonly decodeAlone: DecodeCounts;
  readonly decodeTogether: DecodeCounts;
  /** A run's prompts. */
  readonly prefill: PassCounts;
  readonly training: PassCounts;
  /** Of one group and one head of keys. */
  readonly attention: Pick<PassCounts, "attention" | "attentionBackward">;
}

interface Wanted {
  readonly models: readonly string[];
  readonly attentionOnly: boolean;
}

/** As compute capability 8.0 (80) or 9.0 (90). */
export function countSteps(architecture: 80 | 90, models: readonly string[]): readonly StepCounts[] {
  const counted = <T>(attentionOnly: boolean) =>
    countInProcess<T[]>(import.meta.filename, architecture, { models, attentionOnly } satisfies Wanted);
  const attention = counted<StepCounts["attention"]>(true);
  return counted<Omit<StepCounts, "attention">>(false).map((step, i) => ({ ...step, attention: attention[i]! }));
}

async function count({ models, attentionOnly }: Wanted): Promise<unknown[]> {
  startCounting(attentionOnly ? 0 : 1);
  const results: unknown[] = [];
  for (const name of models) results.push(await (attentionOnly ? countAttention(name) : countStep(name)));
  return results;
}

async function countStep(name: string): Promise<Omit<StepCounts, "attention">> {
  using model = await CountedModel.load(MODELS[name]!);
  const run = PROMPTS * SAMPLES;
  return {
    model: name,
    decodeAlone: await model.countDecode(run, CONTEXT, RANK),
    decodeTogether: await model.countDecode(MEMBERS * run, CONTEXT, RANK),
    prefill: await model.countPass(sequences(PROMPTS, 1), RANK),
    training: await model.countPass(sequences(TRAINING_ROWS / PROMPT, SCORED_SEQUENCES), RANK),
  };
}

async function countAttention(name: string): Promise<StepCounts["attention"]> {
  const shape = MODELS[name]!;
  const heads = shape.heads / shape.kvHeads;
  using model = await CountedModel.load({ ...shape, vocab: 512, hidden: 64, intermediate: 64, heads, kvHeads: 1 });
  const { attention, attentionBackward } = await model.countPass(group(), RANK);
  return { attention, attentionBackward };
}

/** As long as a prompt; the first `scored` of them are scored. */
function sequences(count: number, scored: number): ForwardBatch {
  return batchOf(
    Array.from({ length: count + 1 }, (_, i) => i * PROMPT),
    new Int32Array(count).fill(-1),
    Uint8Array.from({ length: count }, (_, i) => (i < scored ? 1 : 0)),
  );
}

/** A prompt and its completions. */
function group(): ForwardBatch {
  return batchOf(
    [0, ...Array.from({ length: SAMPLES + 1 }, (_, i) => PROMPT + i * ATTENTION_TOKENS)],
    Int32Array.from({ length: SAMPLES + 1 }, (_, i) => (i === 0 ? -1 : 0)),
    new Uint8Array(SAMPLES + 1).fill(1),
  );
}

function batchOf(starts: readonly number[], parents: Int32Array, scored: Uint8Array): ForwardBatch {
  return {
    tokens: new Int32Array(starts.at(-1)!),
    starts: Int32Array.from(starts),
    slots: new Int32Array(parents.length),
    temperatures: new Float32Array(parents.length).fill(1),
    keep: true,
    parents,
    scored,
  };
}

await answer(import.meta.filename, count);
