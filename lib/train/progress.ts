/** How far the current part of a run or step is: bytes of the data fetched, modules whose SVD is made, prompts tokenized, completions sampled or evaluated, passes made. */
export interface Progress {
  readonly phase: "fetching" | "SVD" | "tokenizing" | "sampling" | "training" | "evaluation";
  readonly done: number;
  readonly total: number;
}

export type ProgressListener = (progress: Progress) => void;
