import type { Message } from "../data/prompt.js";
import type { ForwardBatch, ForwardResult, NativeEngine, SampleEvent, SampleRequest } from "../native/addon.js";

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

/** What training and evaluation need of a model. Engine is one; tests use another. */
export interface Policy {
  readonly model: { readonly config: { readonly context: number } };
  readonly tokenizer: {
    encode(text: string, options?: { readonly addSpecialTokens?: boolean }): ArrayLike<number>;
    encodeChat(messages: readonly Message[]): ArrayLike<number>;
    decode(tokens: Int32Array): string;
    readonly stopTokens: ArrayLike<number>;
    /** The model's own end, of those. */
    readonly eos?: number | undefined;
  };
  memory(): { readonly peakRss: number };
  setVector(slot: number, v: Float32Array): number;
  /** Queues one prompt; returns what cancels it. */
  submit(request: Omit<SampleRequest, "id">, onEvent: (event: SampleEvent) => void): () => void;
  forward(batch: ForwardBatch, signal?: AbortSignal): Promise<ForwardResult>;
  backward(dLogprobs: Float32Array, signal?: AbortSignal): Promise<void>;
  gradient(slot: number): Float64Array;
  zeroGradients(): void;
  /** Missing where v alone can be trained. */
  readonly weights?: WeightTraining;
}
