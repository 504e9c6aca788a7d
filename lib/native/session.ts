import { isErrorCode, TinyLoraError } from "../error.js";
import type {
  AdapterBasis,
  ComputedSvd,
  EngineSpec,
  ForwardBatch,
  ForwardResult,
  LinearModule,
  NativeEngine,
  NativeError,
  ProjectionSpec,
  SampleEvent,
  SampleRequest,
  TensorPart,
  TrainedTensor,
  UpdateOptions,
} from "./addon.js";
import { loadAddon } from "./load.js";
import type { TensorSource } from "./model-source.js";
import { onAbort, orAborted } from "./on-abort.js";

/** What it throws ends the work that it is told of. */
export type OnProgress = (done: number, total: number) => void;

const quiet: OnProgress = () => {};

/** What to do where an engine's memory runs out. */
const LESS_MEMORY =
  "lower token_budget, cache_tokens or max_sequences, train with gradient_checkpointing or without keep_activations, attach fewer adapters, or use dtype bf16 or a smaller model";

/** The fixed random matrices of one module, [u, r, r]. */
export function projection(spec: ProjectionSpec): Float32Array {
  return loadAddon().projection(spec);
}
/** The numbers of one tensor of a model's files, widened. */
export function readTensor(source: TensorSource): Promise<Float32Array> {
  return withStack(() => loadAddon().readTensor(source));
}

/**
 * A native engine with the manners of JavaScript: AbortSignals, errors with the caller's stack, one pass at a time.
 * Sampling goes on beside passes; passes (forward, backward, SVD) wait for one another. Changes of single vectors wait for
 * passes and passes for them, but they do not wait for one another.
 */
export class Session {
  #native: NativeEngine;
  /** What changes wait for, and what passes wait for. */
  #lastPass: Promise<unknown> = Promise.resolve();
  #last: Promise<unknown> = Promise.resolve();
  #nextRequest = 1;
  #disposed = false;

  private constructor(native: NativeEngine) {
    this.#native = native;
  }

  static open(spec: EngineSpec, onProgress = quiet, signal?: AbortSignal): Promise<Session> {
    const load = async (tell: Tell) => new Session(await withStack(() => loadAddon().loadEngine(spec, tell)));
    return toldOf(load, onProgress, signal, (late) => late.dispose());
  }

  get device(): string {
    return this.#native.device;
  }
  get modules(): LinearModule[] {
    return this.#native.modules;
  }
  get fingerprint(): string {
    return this.#native.fingerprint;
  }
  memory(): ReturnType<NativeEngine["memory"]> {
    return this.#call(() => this.#native.memory());
  }

  computeSvd(
    spec: { rank: number; modules: number[] },
    onProgress = quiet,
    signal?: AbortSignal,
  ): Promise<ComputedSvd[]> {
    return this.#pass(() => toldOf((tell) => this.#native.computeSvd(spec, tell), onProgress, signal), signal);
  }
  /** Makes a change when the passes asked for before are over: those asked for later see it, and nobody waits for one. */
  between(change: () => void, signal?: AbortSignal): Promise<void> {
    return this.#pass(async () => change(), signal);
  }
  setBasis(basis: AdapterBasis): void {
    this.#call(() => this.#native.setBasis(basis));
  }
  setVector(slot: number, v: Float32Array): number {
    return this.#call(() => this.#native.setVector(slot, v));
  }

  setVectors(first: number, v: Float32Array): Int32Array {
    return this.#call(() => this.#native.setVectors(first, v));
  }
  /** The v that `make` gives when the passes asked for before are over. The slot's new version. */
  changeVector(slot: number, make: () => Float32Array, signal?: AbortSignal): Promise<number> {
    const change = this.#after(this.#lastPass, async () => this.#native.changeVector(slot, make()), signal);
    this.#last = bothEnded(this.#last, change);
    return change;
  }

  forward(batch: ForwardBatch, signal?: AbortSignal): Promise<ForwardResult> {
    return this.#pass(() => this.#native.forward(batch), signal);
  }
  /** Several, made when their turn has come, with no other pass and no change of the adapters between them. */
  forwardAll(make: () => Promise<readonly ForwardBatch[]>, signal?: AbortSignal): Promise<ForwardResult[]> {
    return this.#pass(async () => {
      const results: ForwardResult[] = [];
      for (const batch of await make()) {
        signal?.throwIfAborted();
        results.push(await this.#native.forward(batch));
      }
      return results;
    }, signal);
  }
  async backward(dLogprobs: Float32Array, signal?: AbortSignal): Promise<void> {
    await this.#pass(() => this.#native.backward(dLogprobs), signal);
  }
  backwardParts(dLogprobs: Float32Array, parts: Int32Array, signal?: AbortSignal): Promise<Float64Array> {
    return this.#pass(() => this.#native.backward(dLogprobs, parts), signal);
  }
  gradient(slot: number): Float64Array {
    return this.#call(() => this.#native.gradient(slot));
  }
  zeroGradients(): void {
    this.#call(() => this.#native.zeroGradients());
  }

  version(slot: number): number {
    return this.#call(() => this.#native.version(slot));
  }
  trainBasis(): TrainedTensor[] {
    return this.#call(() => this.#native.trainBasis());
  }
  trainWeights(names: string[]): TrainedTensor[] {
    return this.#call(() => this.#native.trainWeights(names));
  }
  updateParameters(options: UpdateOptions): number {
    return this.#call(() => this.#native.updateParameters(options));
  }
  readParameter(tensor: number, part: TensorPart): Float32Array {
    return this.#call(() => this.#native.readParameter(tensor, part));
  }
  writeParameter(tensor: number, part: TensorPart, values: Float32Array): void {
    this.#call(() => this.#native.writeParameter(tensor, part, values));
  }
  saveParameters(): void {
    this.#call(() => this.#native.saveParameters());
  }
  restoreParameters(): void {
    this.#call(() => this.#native.restoreParameters());
  }

  /** Queues one prompt and its completions. Returns what ends the unfinished ones with reason "aborted". */
  submit(request: Omit<SampleRequest, "id">, onEvent: (event: SampleEvent) => void): () => void {
    const id = this.#nextRequest++;
    this.#call(() => this.#native.submit({ ...request, id }, onEvent));
    return () => {
      if (!this.#disposed) this.#native.cancel(id);
    };
  }
  /** Makes the running pass reject with ERR_ABORTED at the next layer. Harmless when idle. */
  abort(): void {
    if (!this.#disposed) this.#native.abort();
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#native.dispose();
  }

  #pass<T>(run: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const pass = this.#after(this.#last, run, signal);
    this.#last = this.#lastPass = bothEnded(this.#last, pass);
    return pass;
  }

  /** Runs a pass after what came before it. The signal ends the waiting at once, and the pass at the next layer. */
  #after<T>(before: Promise<unknown>, run: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return orAborted(before, signal).then(async () => {
      this.#check();
      signal?.throwIfAborted(); // it may have come since the waiting ended
      const ended = onAbort(signal, () => this.abort());
      try {
        return await withStack(run);
      } catch (error) {
        signal?.throwIfAborted();
        throw error;
      } finally {
        ended();
      }
    });
  }

  #call<T>(run: () => T): T {
    this.#check();
    try {
      return run();
    } catch (error) {
      throw own(error);
    }
  }

  #check(): void {
    if (this.#disposed) throw new TinyLoraError("ERR_DISPOSED", "the engine was disposed");
  }
}

/** However they end; their results are not kept. */
function bothEnded(first: Promise<unknown>, second: Promise<unknown>): Promise<void> {
  return Promise.allSettled([first, second]).then(() => {});
}

type Tell = (done: number, total: number) => boolean;

/**
 * What `run` gives, told of its progress: the signal, and what the listener throws, end it. `drop` takes what comes too
 * late.
 */
export async function toldOf<T>(
  run: (tell: Tell) => Promise<T>,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
  drop: (late: T) => void = () => {},
): Promise<T> {
  signal?.throwIfAborted();
  let thrown: { readonly error: unknown } | undefined;
  const tell = (done: number, total: number) => {
    try {
      if (!thrown && !signal?.aborted) onProgress(done, total);
    } catch (error) {
      thrown = { error };
    }
    return !thrown && !signal?.aborted;
  };
  const check = () => {
    if (thrown) throw thrown.error;
    signal?.throwIfAborted();
  };
  let value: T;
  try {
    value = await run(tell);
  } catch (error) {
    check();
    throw error;
  }
  try {
    check();
  } catch (error) {
    drop(value);
    throw error;
  }
  return value;
}

/** Native errors have no JavaScript stack: the caller's is worth more. */
export async function withStack<T>(run: () => Promise<T>, lessMemory?: string): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw own(error, lessMemory);
  }
}

/** A native error as this package's, with what to do where memory ran out. */
export function own(error: unknown, lessMemory = LESS_MEMORY): unknown {
  const code = (error as Partial<NativeError>)?.code;
  if (error instanceof TinyLoraError || !(error instanceof Error) || !isErrorCode(code)) return error;
  const message = code === "ERR_MEMORY" ? `${error.message}: ${lessMemory}` : error.message;
  return new TinyLoraError(code, message, { cause: error });
}
