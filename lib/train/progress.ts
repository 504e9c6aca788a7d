/**
 * How far the current part of a run or step is: bytes of the data fetched or of the weights loaded, modules whose SVD is made, prompts tokenized,
 * completions sampled or evaluated, passes made, tensors saved.
 */
export interface Progress {
  readonly phase: "fetching" | "loading" | "SVD" | "tokenizing" | "sampling" | "training" | "evaluation" | "saving";
  readonly done: number;
  readonly total: number;
}

export type ProgressListener = (progress: Progress) => void;
