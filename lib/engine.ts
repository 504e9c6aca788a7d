import { availableParallelism } from "node:os";
import type { Adapter } from "./adapter/adapter.js";
import { AdapterSlots, type AttachOptions } from "./adapter-slots.js";
import { ofLoading } from "./caller-names.js";
import { TinyLoraError } from "./error.js";
import {
  type GenerateOptions,
  Generation,
  type StreamOptions,
  type StreamPiece,
  streamCompletion,
} from "./generate.js";
import { type LogprobOptions, scoreSequences, type TokenLogprobs } from "./logprobs.js";
import { type Model, openModel } from "./model/open.js";
import type {
  AdapterBasis,
  CpuPath,
  Dtype,
  ForwardBatch,
  ForwardResult,
  LinearModule,
  SampleEvent,
  SampleRequest,
} from "./native/addon.js";
import { nativeDevice } from "./native/device.js";
import { Session } from "./native/session.js";
import { checkOptionNames } from "./option-names.js";
import type { ManyVectors, WeightTraining } from "./policy.js";
import type { Prompt } from "./prompt.js";

export interface EngineOptions {
  /** How weights are kept, "bf16" by default. 16 bits take half the memory; "fp16" is not for the cpu. */
  readonly dtype?: Dtype | undefined;
  /** Where the model runs: cpu by default, cuda (the first usable GPU), cuda:N, cudasim, reference. */
  readonly device?: string | undefined;
  /** Compute threads; all cores by default. Results do not depend on it. */
  readonly threads?: number | undefined;
  /**
   * Of device cpu: the instruction set; the best of this machine by default. Results differ in the last bits from one to
   * another.
   */
  readonly cpuPath?: CpuPath | undefined;
  /** Sequences that are sampled side by side at most, 64 by default; more wait. */
  readonly maxSequences?: number | undefined;
  /** Positions that the sampler's key/value cache holds, over all sequences; 16384 by default. */
  readonly cacheTokens?: number | undefined;
  /** Bytes of the weights read, of all of them. What it throws ends the loading and is what `load` rejects with. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  /** Ends the loading at the next tensor: `load` rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const LOAD_OPTION_NAMES = {
  dtype: true,
  device: true,
  threads: true,
  cpuPath: true,
  maxSequences: true,
  cacheTokens: true,
  onProgress: true,
  signal: true,
} satisfies Record<keyof EngineOptions, true>;

/**
 * A language model in native memory: samples, scores and differentiates. Frees everything on `dispose`.
 *
 * @example
 * await using engine = await Engine.load("models/SmolLM2-135M-Instruct");
 * const [answer] = await engine.generate([{ role: "user", content: "What is 7 * 8?" }], { temperature: 0 });
 * console.log(answer.text);
 */
export class Engine implements AsyncDisposable {
  /** Config, tensors and tokenizer as openModel found them. */
  readonly model: Model;
  /** How weights are kept. */
  readonly dtype: Dtype;
  /** Positions of the sampler's cache: a prompt and its completion have to fit, but for the last token. */
  readonly cacheTokens: number;
  #session: Session;
  #slots: AdapterSlots;

  private constructor(model: Model, dtype: Dtype, cacheTokens: number, session: Session) {
    this.model = model;
    this.dtype = dtype;
    this.cacheTokens = cacheTokens;
    this.#session = session;
    this.#slots = new AdapterSlots(this, session);
  }

  /**
   * `path`: a Hugging Face folder or a .gguf file; `findModel("embedded")` is the small model of this package. Rejects with
   * ERR_FILE or ERR_MODEL where that is no model that can be used, with ERR_DEVICE for a device that cannot.
   */
  static async load(path: string, options: EngineOptions = {}): Promise<Engine> {
    checkOptionNames("Engine.load", options, LOAD_OPTION_NAMES);
    options.signal?.throwIfAborted();
    const device = options.device ?? "cpu";
    if (options.cpuPath !== undefined && device !== "cpu") {
      throw new TinyLoraError(
        "ERR_ARGUMENT",
        `cpuPath: expected nothing, since device is ${device}, found ${options.cpuPath}`,
      );
    }
    const model = await openModel(path);
    const dtype = options.dtype ?? "bf16";
    const cacheTokens = options.cacheTokens ?? 16384;
    const session = await Session.open(
      {
        config: model.config,
        tensors: model.tensors,
        dtype,
        ...nativeDevice(device),
        threads: options.threads ?? availableParallelism(),
        ...(options.cpuPath ? { path: options.cpuPath } : {}),
        maxSequences: options.maxSequences ?? 64,
        cacheTokens,
        tokenBytes: model.tokenizer.tokenBytes(),
      },
      options.onProgress,
      options.signal,
    ).catch((error) => {
      throw ofLoading(error);
    });
    return new Engine(model, dtype, cacheTokens, session);
  }

  get tokenizer(): Model["tokenizer"] {
    return this.model.tokenizer;
  }
  /** Its name in full: "cpu (avx512-bf16, 2 threads)". */
  get device(): string {
    return this.#session.device;
  }
  /** The linear modules that adapters can change. */
  get modules(): LinearModule[] {
    return this.#session.modules;
  }
  /** 16 hex digits over all weights: the same for every file format and dtype. */
  get fingerprint(): string {
    return this.#session.fingerprint;
  }
  /** How many adapters are attached: slots 0 .. slots - 1. */
  get slots(): number {
    return this.#slots.count;
  }
  /** What was put into each slot last, by `attach` or `replace`. */
  get adapters(): readonly Adapter[] {
    return this.#slots.adapters;
  }
  /** Bytes: of the engine's weights, its key/value cache and its activations, and the most that this process has held. */
  memory(): { weights: number; cache: number; activations: number; peakRss: number } {
    return this.#session.memory();
  }

  /**
   * Puts adapters into slots 0, 1, ... in place of those before. They must differ in v and projection only. The SVD that
   * they need is computed once for a model and rank, then kept on disk. Refused while sequences are being sampled, and
   * while a trainer runs on this engine.
   */
  async attach(adapters: Adapter | readonly Adapter[], options: AttachOptions = {}): Promise<void> {
    checkOptionNames("attach", options, { onProgress: true, signal: true });
    return this.#slots.attach(Array.isArray(adapters) ? adapters : [adapters as Adapter], options);
  }

  /**
   * Puts an adapter into one slot in place of the one there. The others stay, and sampling from them goes on. It must differ
   * from the one in v only. Refused while sequences of this slot are being sampled, and while a trainer runs on this engine.
   */
  async replace(
    slot: number,
    adapter: Adapter,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    checkOptionNames("replace", options, { signal: true });
    return this.#slots.replace(slot, adapter, options.signal);
  }

  /** A, B, P and tie groups of an attached adapter: `adapter.save(folder, engine.basis())` writes them too. */
  basis(slot = 0): { modules: readonly LinearModule[]; basis: AdapterBasis } {
    const { basis, projections } = this.#slots.at(slot);
    return { modules: this.modules, basis: projections.basisOf(slot, basis) };
  }

  /**
   * Samples completions. Await it for all of them in order, or iterate it to get each as soon as it is finished. Rejects with
   * ERR_ARGUMENT for a prompt that is empty or fills the model's context, with ERR_ABORTED where the engine is disposed.
   */
  generate(prompts: Prompt | readonly Prompt[], options: GenerateOptions = {}): Generation {
    return new Generation(this, prompts, options);
  }

  /** One completion of one prompt, piece by piece as it is sampled. */
  stream(prompt: Prompt, options: StreamOptions = {}): AsyncGenerator<StreamPiece> {
    return streamCompletion(this, prompt, options);
  }

  /**
   * Log-probability and entropy of every token of each sequence, with the adapter that is attached when it is called.
   * Rejects with ERR_ARGUMENT for a sequence that is empty or exceeds the model's context.
   */
  logprobs(sequences: readonly Prompt[], options: LogprobOptions = {}): Promise<TokenLogprobs[]> {
    return scoreSequences(this, sequences, options, (make, signal) => this.#session.forwardAll(make, signal));
  }

  // What trainers are made of; lib/native/addon.ts tells each in detail.

  /** v of one slot, [groups * u]. Returns the slot's new version. */
  setVector(slot: number, v: Float32Array): number {
    return this.#session.setVector(slot, this.#slots.at(slot).projections.widen(slot, v));
  }
  /** Vectors of slots first, first + 1, ..., in one go. Returns the slots' new versions. */
  setVectors(first: number, vectors: readonly Float32Array[]): Int32Array {
    return this.#slots.setVectors(first, vectors);
  }
  /** Queues one prompt; events come as it is sampled. Returns what ends its unfinished completions as "aborted". */
  submit(request: Omit<SampleRequest, "id">, onEvent: (event: SampleEvent) => void): () => void {
    return this.#session.submit(request, onEvent);
  }
  /** Log-probabilities of a packed batch; with `keep`, ready for one `backward`. */
  forward(batch: ForwardBatch, signal?: AbortSignal): Promise<ForwardResult> {
    return this.#session.forward(batch, signal);
  }
  /** Adds to the slots' gradients that of `sum_t dLogprobs[t] * logprobs[t]` over the last kept batch. */
  backward(dLogprobs: Float32Array, signal?: AbortSignal): Promise<void> {
    return this.#session.backward(dLogprobs, signal);
  }
  /**
   * The same, and d(loss)/dv of each part of the batch, [parts, groups * u]: `parts` names that of every sequence, 0 and
   * up, one after another, a child's that of its parent. All sequences must be of `slot`.
   */
  async backwardParts(
    dLogprobs: Float32Array,
    parts: Int32Array,
    slot: number,
    signal?: AbortSignal,
  ): Promise<Float64Array> {
    const { projections } = this.#slots.at(slot);
    return projections.narrow(slot, await this.#session.backwardParts(dLogprobs, parts, signal));
  }
  /** d(loss)/dv of one slot, [groups * u]. */
  gradient(slot: number): Float64Array {
    return this.#slots.at(slot).projections.narrow(slot, this.#session.gradient(slot));
  }
  zeroGradients(): void {
    this.#session.zeroGradients();
  }
  /** What samples from many vectors side by side. */
  get vectors(): ManyVectors {
    return this;
  }
  /** What trains weights (LoRA, full fine-tuning) in native memory. */
  get weights(): WeightTraining {
    return this.#session;
  }
  /** Makes the running forward, backward or SVD reject with ERR_ABORTED at the next layer. Harmless when idle. */
  abort(): void {
    this.#session.abort();
  }

  /** Frees all native memory; unfinished completions end as "aborted". */
  dispose(): void {
    this.#session.dispose();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }
}
