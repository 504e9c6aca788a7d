import type { Adapter } from "./adapter/adapter.js";
import type { AttachOptions } from "./adapter-slots.js";
import type { Message } from "./model/chat-template.js";
import type { ForwardBatch, ForwardResult, NativeEngine, SampleEvent, SampleRequest } from "./native/addon.js";

/** Weights that are trained in native memory; lib/native/addon.ts tells each in detail. */
export type WeightTraining = Pick<
  NativeEngine,
  | "version"
  | "trainBasis"
  | "trainWeights"
  | "updateParameters"
  | "readParameter"
  | "writeParameter"
  | "saveParameters"
  | "restoreParameters"
>;

/** Adapters that differ in v alone, used side by side in one sampling batch. */
export interface ManyVectors {
  /** Into slots 0, 1, ... */
  attach(adapters: readonly Adapter[], options?: AttachOptions): Promise<void>;
  /** v of slots first, first + 1, ... Returns their versions. */
  setVectors(first: number, vectors: readonly Float32Array[]): ArrayLike<number>;
}

/** What prompts are measured by, before anything is sampled. */
export type PromptReader = Pick<Policy, "model" | "tokenizer" | "cacheTokens">;

/** What training and evaluation need of a model. Engine is one; tests use another. */
export interface Policy {
  /** Its name in full, the instruction set among it: "cpu (avx512-bf16, 2 threads)". */
  readonly device: string;
  readonly model: { readonly config: { readonly context: number }; readonly path?: string };
  readonly tokenizer: {
    encode(text: string, options?: { readonly addSpecialTokens?: boolean }): ArrayLike<number>;
    encodeChat(messages: readonly Message[], options?: { readonly addGenerationPrompt?: boolean }): ArrayLike<number>;
    decode(tokens: Int32Array): string;
    readonly stopTokens: ArrayLike<number>;
    /** The model's own end, of those. */
    readonly eos?: number | undefined;
  };
  /** Positions of the sampler's cache: a prompt and its completion have to fit, but for the last token. */
  readonly cacheTokens: number;
  memory(): { readonly peakRss: number };
  setVector(slot: number, v: Float32Array): number;
  /** Queues one prompt; returns what cancels it. */
  submit(request: Omit<SampleRequest, "id">, onEvent: (event: SampleEvent) => void): () => void;
  forward(batch: ForwardBatch, signal?: AbortSignal): Promise<ForwardResult>;
  backward(dLogprobs: Float32Array, signal?: AbortSignal): Promise<void>;
  /** The same, and the gradient of v by parts of the batch, all of one slot: [parts, numbers of v]. */
  backwardParts(dLogprobs: Float32Array, parts: Int32Array, slot: number, signal?: AbortSignal): Promise<Float64Array>;
  gradient(slot: number): Float64Array;
  zeroGradients(): void;
  /** Missing where one v alone can be sampled from at a time. */
  readonly vectors?: ManyVectors;
  /** Missing where v alone can be trained. */
  readonly weights?: WeightTraining;
}
