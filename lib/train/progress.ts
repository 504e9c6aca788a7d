/** How far the current part of a step is: prompts tokenized, completions sampled or evaluated, passes made. */
export interface Progress {
  readonly phase: "tokenizing" | "sampling" | "training" | "evaluation";
  readonly done: number;
  readonly total: number;
}

export type ProgressListener = (progress: Progress) => void;
