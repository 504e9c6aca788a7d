/** A whole model timed, its weights zeros: decode steps and training passes, with one number trained. */
import type { Dtype, ForwardBatch, NativeEngine } from "../native/addon.js";
import { type BenchDevice, LESS_TO_MEASURE } from "../native/bench.js";
import { onAbort } from "../native/on-abort.js";
import { own } from "../native/session.js";
import { loadZeroModel, type ModelShape, sampleAll, zeroBasis } from "./zero-model.js";

export interface WholeModelSpec extends BenchDevice {
  readonly shape: ModelShape & { readonly layers: number };
  readonly dtype: Dtype;
  /** Rank of the update on every module. */
  readonly rank: number;
  /** Sequences that are sampled at most. */
  readonly mostSequences: number;
}

const PROMPT = 128;
/** Completions of a prompt, at most. */
const GENERATIONS = 8;
/** Decode steps that are timed together. */
const STEPS = 16;
/** Tokens of a training pass's sequences, at most. */
const SEQUENCE = 256;

/** Whole calls are timed, as JavaScript sees them; a signal ends them at the next layer or token. */
export class WholeModel implements Disposable {
  #engine: NativeEngine;

  private constructor(engine: NativeEngine) {
    this.#engine = engine;
  }

  /** ERR_DEVICE where the device cannot be used, ERR_MEMORY where it has no room. */
  static async load(
    { shape, rank, mostSequences, threads = 1, ...spec }: WholeModelSpec,
    signal?: AbortSignal,
  ): Promise<WholeModel> {
    const { dtype, device, driver, path } = spec;
    const prompts = Math.ceil(mostSequences / GENERATIONS);
    const cacheTokens = (prompts + mostSequences) * PROMPT;
    try {
      const more = { ...(driver && { driver }), ...(path && { path }) };
      const sampler = { cacheTokens, maxSequences: mostSequences };
      const engine = await loadZeroModel(shape, shape.layers, { dtype, device, threads, ...sampler, ...more }, signal);
      if (signal?.aborted) engine.dispose(); // a small one may be there before it is asked whether to go on
      signal?.throwIfAborted();
      engine.setBasis(zeroBasis(engine.modules, rank));
      engine.setVector(0, Float32Array.of(1));
      return new WholeModel(engine);
    } catch (error) {
      signal?.throwIfAborted();
      throw own(error, LESS_TO_MEASURE);
    }
  }

  /**
   * Median seconds of a decode step of so many sequences, up to eight of them behind a prompt of 128 tokens: what 16 more
   * tokens take. At least `seconds` are spent.
   */
  async decodeStep(sequences: number, seconds: number, signal?: AbortSignal): Promise<number> {
    const all = { sequences, numGenerations: GENERATIONS, promptLength: PROMPT };
    const [first, more] = await this.#medians(seconds, signal, [
      () => sampleAll(this.#engine, { ...all, completionLength: 1 }, signal),
      () => sampleAll(this.#engine, { ...all, completionLength: 1 + STEPS }, signal),
    ]);
    return Math.max(1e-9, more! - first!) / STEPS; // a busy machine may have held the shorter one up for longer
  }

  /**
   * Median seconds of a training pass of so many rows, all scored, in sequences of at most 256: forward with the head and
   * what backward needs of it, and backward. At least `seconds` are spent.
   */
  async trainingPass(
    rows: number,
    seconds: number,
    signal?: AbortSignal,
  ): Promise<{ forward: number; backward: number }> {
    const batch = batchOf(rows);
    const gradient = new Float32Array(rows).fill(1 / rows);
    const [forward, backward] = await this.#medians(seconds, signal, [
      () => this.#engine.forward(batch),
      () => this.#engine.backward(gradient),
    ]);
    return { forward: forward!, backward: backward! };
  }

  [Symbol.dispose](): void {
    this.#engine.dispose();
  }

  /** Of each call, made in turns; the first round warms up. */
  async #medians(least: number, signal: AbortSignal | undefined, calls: (() => Promise<unknown>)[]): Promise<number[]> {
    const times: number[][] = calls.map(() => []);
    const start = performance.now();
    const ended = onAbort(signal, () => this.#engine.abort());
    try {
      for (let round = 0; round < 2 || performance.now() - start < 1e3 * least; round++) {
        for (const [i, call] of calls.entries()) {
          const before = performance.now();
          try {
            signal?.throwIfAborted();
            await call();
            signal?.throwIfAborted();
          } catch (error) {
            signal?.throwIfAborted();
            throw own(error, LESS_TO_MEASURE);
          }
          if (round > 0) times[i]!.push((performance.now() - before) / 1e3);
        }
      }
    } finally {
      ended();
    }
    return times.map((list) => list.sort((a, b) => a - b)[list.length >> 1]!);
  }
}

function batchOf(rows: number): ForwardBatch {
  const count = Math.ceil(rows / SEQUENCE);
  return {
    tokens: new Int32Array(rows),
    starts: Int32Array.from({ length: count + 1 }, (_, i) => Math.min(i * SEQUENCE, rows)),
    parents: new Int32Array(count).fill(-1),
    slots: new Int32Array(count),
    scored: new Uint8Array(count).fill(1),
    temperatures: new Float32Array(count).fill(1),
    keep: true,
  };
}
