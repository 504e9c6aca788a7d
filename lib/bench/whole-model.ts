/** A whole model timed, its weights zeros: decode steps and training passes, with one number trained. */
import type { Dtype, NativeEngine } from "../native/addon.js";
import { type BenchDevice, checkRoom, LESS_TO_MEASURE } from "../native/bench.js";
import { onAbort } from "../native/on-abort.js";
import { own } from "../native/session.js";
import { batchOf, countWeights, loadZeroModel, type ModelShape, sampleAll, zeroBasis } from "./zero-model.js";

/** `threads` is 1 and `path` the best the machine has when not given. */
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
  #spec: WholeModelSpec;

  private constructor(engine: NativeEngine, spec: WholeModelSpec) {
    this.#engine = engine;
    this.#spec = spec;
  }

  /** ERR_DEVICE where the device cannot be used, ERR_MEMORY where it has no room. */
  static async load(spec: WholeModelSpec, signal?: AbortSignal): Promise<WholeModel> {
    const { shape, rank, mostSequences, threads = 1, dtype, device, driver, path } = spec;
    const cacheTokens = cacheTokensOf(mostSequences);
    if (device === "cpu") checkRoom(bytesOf(spec));
    try {
      const more = { ...(driver && { driver }), ...(path && { path }) };
      const sampler = { cacheTokens, maxSequences: mostSequences };
      const engine = await loadZeroModel(shape, shape.layers, { dtype, device, threads, ...sampler, ...more }, signal);
      if (signal?.aborted) engine.dispose(); // a small one may be there before it is asked whether to go on
      signal?.throwIfAborted();
      engine.setBasis(zeroBasis(engine.modules, rank));
      engine.setVector(0, Float32Array.of(1));
      return new WholeModel(engine, spec);
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
   * what backward needs of it, and backward. At least `seconds` are spent. ERR_MEMORY where there is no room for it.
   */
  async trainingPass(
    rows: number,
    seconds: number,
    signal?: AbortSignal,
  ): Promise<{ forward: number; backward: number }> {
    if (this.#spec.device === "cpu") checkRoom(bytesOf(this.#spec) + rows * bytesOfRow(this.#spec));
    const batch = batchOf(rows, SEQUENCE);
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

const cacheTokensOf = (sequences: number) => (Math.ceil(sequences / GENERATIONS) + sequences) * PROMPT;
const bytesOfNumber = (dtype: Dtype) => (dtype === "fp32" ? 4 : 2);

/** Of the weights, and of keys and values that are sampled with. */
function bytesOf({ shape, dtype, mostSequences }: WholeModelSpec): number {
  const cache = 2 * shape.layers * shape.kvHeads * shape.headDim * cacheTokensOf(mostSequences);
  return bytesOfNumber(dtype) * (countWeights(shape, shape.layers) + cache);
}

/** What the layers keep of a row for the backward pass: docs/performance.md, "Memory". */
function bytesOfRow({ shape, dtype }: WholeModelSpec): number {
  const { layers, hidden, intermediate, heads, kvHeads, headDim } = shape;
  return layers * (8 * hidden + 2 * bytesOfNumber(dtype) * (intermediate + (heads + kvHeads) * headDim));
}
