/** A model as native code takes it, whatever files it comes from. */

/** What config.json says of a Hugging Face model, under shorter names. */
export interface ModelConfig {
  readonly family: "llama" | "qwen2" | "qwen3";
  readonly vocab: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  /** Of queries; `kvHeads` divides it. */
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Tokens that a sequence may have: max_position_embeddings. */
  readonly context: number;
  readonly rmsNormEpsilon: number;
  readonly tiedEmbeddings: boolean;
  readonly ropeTheta: number;
  readonly ropeScaling?: RopeScaling;
}

/** How rope's frequencies are scaled (native/engine/rope_table.cpp); `linear` divides positions by `factor`. */
export type RopeScaling =
  | { type: "linear"; factor: number }
  | { type: "llama3"; factor: number; lowFreqFactor: number; highFreqFactor: number; originalContext: number }
  | {
      type: "yarn";
      factor: number;
      originalContext: number;
      /** Turns within the original context from which a frequency is kept, and up to which it is divided. */
      betaFast: number;
      betaSlow: number;
      /** Whether the pairs between which it changes over are rounded outwards. */
      truncate: boolean;
      /** Cosines and sines are multiplied by it. */
      attentionFactor: number;
    };

/** Where one tensor lies. Names are Hugging Face's (`model.layers.0.self_attn.q_proj.weight`), whatever the file format. */
export interface TensorSource {
  readonly name: string;
  readonly file: string;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
  readonly type: "F32" | "F16" | "BF16" | "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" | "Q8_0" | "Q4_K" | "Q5_K" | "Q6_K";
  /** Outermost dimension first: [out, in] for a linear weight. */
  readonly shape: number[];
  /** Rows were permuted per head by llama.cpp's converter: undo it, for this many heads. */
  readonly permutedHeads?: number;
}
