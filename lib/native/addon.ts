/**
 * The native surface on one page: what `tinylora.node` exports, but for the model that it is given (model-source.ts), what
 * it tells of this machine (machine.ts) and what it measures (bench.ts). `test/addon/surface.test.ts` compares it with the
 * real exports. Only load.ts sees the .node file; engines are called through session.ts.
 *
 * Every promise rejects with a {@link NativeError}; nothing here throws anything else. Typed arrays that go in are copied
 * before the call returns; those that come out belong to the caller.
 */

import type { ErrorCode } from "../error.js";
import type { BenchDevice, BenchProductResult, BenchProductSpec, MachineLimits } from "./bench.js";
import type { MachineInfo } from "./machine.js";
import type { ModelConfig, TensorSource } from "./model-source.js";

/**
 * An Error thrown by native code: `code` is stable (ERR_ARGUMENT, ERR_FILE, ERR_MODEL, ERR_ADAPTER, ERR_MEMORY,
 * ERR_ABORTED, ERR_NUMERIC, ERR_DEVICE, ERR_DISPOSED).
 */
export interface NativeError extends Error {
  readonly code: ErrorCode;
}

export interface Addon {
  readonly version: string;
  machine(): MachineInfo;
  /** Maps the files, checks, widens and packs the weights on a thread of its own. `onProgress` as in computeSvd. */
  loadEngine(spec: EngineSpec, onProgress: (done: number, total: number) => unknown): Promise<NativeEngine>;
  /** The numbers of one tensor, widened and in Hugging Face's order of rows, [shape[0], shape[1] or 1]. */
  readTensor(source: TensorSource): Promise<Float32Array>;
  /** The fixed random matrices of one module, [u, r, r]: Philox keyed by (seed, module), the same on every platform. */
  projection(spec: ProjectionSpec): Float32Array;
  /**
   * Median seconds of one product, and the machine's limits measured by loops that touch only registers or only memory.
   * `goOn` is called some times a second; where it returns false, the promise rejects with ERR_ABORTED.
   */
  benchProduct(spec: BenchProductSpec, goOn: () => unknown): Promise<BenchProductResult>;
  benchLimits(spec: BenchDevice & { seconds: number }, goOn: () => unknown): Promise<MachineLimits>;
}

export type Dtype = "fp32" | "bf16" | "fp16";
export type CpuPath = "amx" | "avx512-bf16" | "avx512" | "avx2" | "neon-bf16" | "neon";

export interface EngineSpec {
  readonly config: ModelConfig;
  readonly tensors: TensorSource[];
  readonly dtype: Dtype;
  /** "cpu", "cuda" (the first usable GPU), "cuda:N", "cudasim" or "reference". */
  readonly device: string;
  /** The file that cudasim opens: the stand-in for the CUDA driver (test/cudasim). */
  readonly driver?: string;
  /** Compute threads, 1 or more. */
  readonly threads: number;
  /** The best the machine has when absent. */
  readonly path?: CpuPath;
  /** Sequences that are sampled side by side at most. */
  readonly maxSequences: number;
  /** Positions that the sampler's key/value cache holds, over all sequences. */
  readonly cacheTokens: number;
  /** The bytes that each token id stands for, for stop strings: token i is bytes[offsets[i] .. offsets[i + 1]]. */
  readonly tokenBytes?: { bytes: Uint8Array; offsets: Uint32Array };
}

/** A linear module that an adapter can change. `index` is its place in the model: q, k, v, o, gate, up, down in each layer. */
export interface LinearModule {
  readonly index: number;
  readonly name: string;
  readonly layer: number;
  readonly type: ModuleType;
  readonly in: number;
  readonly out: number;
}
export type ModuleType = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

/** Truncated SVD of one module's weight, W ~ U diag(S) V^T; signs fixed as in docs/method.md. */
export interface SvdFactors {
  readonly module: number;
  /** [out, r] */
  readonly u: Float32Array;
  /** [r], descending */
  readonly s: Float32Array;
  /** V transposed: [r, in] */
  readonly vt: Float32Array;
}

/** As it was computed just now. */
export interface ComputedSvd extends SvdFactors {
  /** 0 where it converged; else how far, in radians, the least known right vector may be off. */
  readonly angle: number;
}

/** What all adapters of an engine share: W' = W + B (sum_i v_i P_i) A for each adapted module. */
export interface AdapterBasis {
  readonly rank: number;
  readonly u: number;
  readonly groups: number;
  /** How many vectors can be used side by side; rows name them 0 .. slots - 1. */
  readonly slots: number;
  readonly modules: {
    readonly module: number;
    /** Which run of u numbers in v this module uses. */
    readonly group: number;
    /** [r, in] */
    readonly a: Float32Array;
    /** [out, r] */
    readonly b: Float32Array;
    /** [u, r, r] */
    readonly p: Float32Array;
  }[];
}

export interface NativeEngine {
  /** In full: "cpu (avx512-bf16, 2 threads)", "cuda (NVIDIA A100, sm_80)". */
  readonly device: string;
  readonly modules: LinearModule[];
  /** 16 hex digits over all weights as widened to float: the same for any file format and dtype of the engine. */
  readonly fingerprint: string;
  memory(): { weights: number; cache: number; activations: number; peakRss: number };

  /** Where `onProgress` returns false, this call rejects with ERR_ABORTED; others that are queued go on. */
  computeSvd(
    spec: { rank: number; modules: number[] },
    onProgress: (done: number, total: number) => unknown,
  ): Promise<ComputedSvd[]>;
  /** Replaces the basis and sets all vectors to zero. Refused while sequences are being sampled. */
  setBasis(basis: AdapterBasis): void;
  /** v of one slot, [groups * u]. Refused while sequences of this slot are being sampled. Returns the slot's new version. */
  setVector(slot: number, v: Float32Array): number;
  /**
   * v of slots first, first + 1, ..., [n, groups * u], at once. Refused while sequences are being sampled. Returns their
   * versions.
   */
  setVectors(first: number, v: Float32Array): Int32Array;
  /** As setVector, which waits for the step of sampling that is running; this makes its caller wait for nothing. */
  changeVector(slot: number, v: Float32Array): Promise<number>;

  /** Queues one prompt and its completions. Events come in the order of sampling, on the JavaScript thread. */
  submit(request: SampleRequest, onEvent: (event: SampleEvent) => void): void;
  /** Ends the request's unfinished sequences with reason "aborted". Unknown ids are ignored. */
  cancel(id: number): void;

  /** Log-probabilities of a packed batch. With `keep`, holds the activations for one `backward`. */
  forward(batch: ForwardBatch): Promise<ForwardResult>;
  /**
   * Adds the gradient of `sum_t dLogprobs[t] * logprobs[t]` to the gradients of the slots of the last kept batch.
   * `parts`: the part of each of its sequences, 0 and up, one after another; each of one slot, a child's that of its
   * parent. Resolves with d(loss)/dv of every part, [parts, groups * u]; they add up to what the slots got. Without
   * `parts` with no numbers.
   */
  backward(dLogprobs: Float32Array, parts?: Int32Array): Promise<Float64Array>;
  /** d(loss)/dv of one slot, [groups * u]. */
  gradient(slot: number): Float64Array;
  zeroGradients(): void;

  /** Of the slot's vector; of slot -1, of the model's weights. Every change makes a new one. */
  version(slot: number): number;
  /**
   * Trains A and B of the basis (LoRA) besides v, until the next setBasis. `backward` then adds to their gradients too.
   * What changes weights is refused while sequences are being sampled.
   */
  trainBasis(): TrainedTensor[];
  /** Trains these weights of the model, by Hugging Face's names: fp32 masters from its files, packed after each update. */
  trainWeights(names: string[]): TrainedTensor[];
  /** One step of the optimiser on every trained tensor; returns the gradient's norm. ERR_NUMERIC where that is not finite. */
  updateParameters(options: UpdateOptions): number;
  /** Numbers of trained tensor `tensor`, in its shape. */
  readParameter(tensor: number, part: TensorPart): Float32Array;
  writeParameter(tensor: number, part: TensorPart, values: Float32Array): void;
  /** Keeps masters and moments aside; `restoreParameters` goes back to them. */
  saveParameters(): void;
  restoreParameters(): void;

  /**
   * Makes all unfinished forwards, backwards and SVDs reject with ERR_ABORTED, a running pass at its next layer.
   * Harmless when idle.
   */
  abort(): void;
  /** Frees everything; unfinished requests end as "aborted". Calls after it throw. */
  dispose(): void;
}

/** `X.lora_A` is [r, in] and `X.lora_B` the transpose of B, [r, out]; weights have the names and shapes of their files. */
export interface TrainedTensor {
  readonly name: string;
  readonly shape: number[];
}
/** `first` and `second` are AdamW's moments; SGD's momentum is in `first`. */
export type TensorPart = "master" | "gradient" | "first" | "second";

export interface UpdateOptions {
  readonly optim: "adamw" | "sgd";
  readonly rate: number;
  /** Of matrices: norm gains and biases do not decay. */
  readonly decay: number;
  /** The gradient is scaled down to this norm; 0: never. */
  readonly maxNorm: number;
  readonly momentum: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Number of this update, from 1. */
  readonly updates: number;
}

export interface SampleRequest {
  /** Chosen by the caller, unique among the unfinished. */
  readonly id: number;
  readonly prompt: Int32Array;
  /** -1: the base model. */
  readonly slot: number;
  /** Completions of the prompt. */
  readonly numGenerations: number;
  readonly maxCompletionLength: number;
  /** 0 is greedy. */
  readonly temperature: number;
  readonly topP: number;
  /** 0: no limit. */
  readonly topK: number;
  readonly minP: number;
  /** Up to 2^53 - 1. With the sequence number (firstSequence + completion) and the position it fixes every draw. */
  readonly seed: number;
  readonly firstSequence: number;
  /** End a completion; the stop token is its last token. */
  readonly stopTokens: Int32Array;
  /** End a completion when its text contains one (UTF-8); the tokens up to and including the match are kept. */
  readonly stopStrings: string[];
  /** Report tokens as they come, not only finished completions. */
  readonly stream: boolean;
  /**
   * Keeps what the layers compute of prompt and completions, until others need the room or v changes: a `forward` with
   * `keep` over just these tokens then runs no layers, and `backward` has the same bits. Takes memory for every position of
   * the cache: on the CPU where it is filled, on a GPU at once. False by default.
   */
  readonly keepActivations?: boolean;
  /** With `keepActivations`: what that `forward` will say. */
  readonly gradientCheckpointing?: boolean;
}

export type SampleEvent =
  | { type: "tokens"; id: number; completion: number; tokens: Int32Array; logprobs: Float32Array }
  | {
      type: "finished";
      id: number;
      completion: number;
      tokens: Int32Array;
      logprobs: Float32Array;
      /** In nats, of the distribution that each token was drawn from, before top-k, top-p and min-p. */
      entropies: Float32Array;
      reason: "stop" | "length" | "aborted";
      /** What `version(slot)` is all the time that it is sampled. */
      version: number;
    }
  | { type: "failed"; id: number; error: NativeError };

/**
 * Sequences laid end to end. A sequence with a parent continues it: it sees the parent's tokens and starts at the
 * position after them. Parents come before their children and have no parent themselves.
 */
export interface ForwardBatch {
  readonly tokens: Int32Array;
  /** [n + 1] */
  readonly starts: Int32Array;
  /** [n]: index of the parent, or -1 */
  readonly parents: Int32Array;
  /** [n]: -1 is the base model */
  readonly slots: Int32Array;
  /** [n]: 1 where log-probabilities are wanted */
  readonly scored: Uint8Array;
  /** [n]: log-probabilities are those of logits / temperature */
  readonly temperatures: Float32Array;
  readonly keep: boolean;
  /**
   * With `keep`: holds the input of each layer only, and `backward` computes the rest again, to the same bits. Less
   * memory, more time; false by default.
   */
  readonly gradientCheckpointing?: boolean;
}

export interface ForwardResult {
  /** One a token; NaN where unscored and for the first token of a sequence without parent. */
  readonly logprobs: Float32Array;
  /** Entropy in nats of the distribution that the token was drawn from; NaN as above. */
  readonly entropies: Float32Array;
  /** Whether the layers had nothing to do: a sampler that keeps activations had all of the batch. */
  readonly sampled: boolean;
}

export interface ProjectionSpec {
  readonly seed: number;
  readonly module: number;
  readonly u: number;
  readonly rank: number;
  readonly distribution: "normal" | "uniform" | "orthogonal" | "unit";
}
