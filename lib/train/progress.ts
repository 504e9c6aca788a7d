/** How far the current part of a step is: completions sampled or evaluated, passes made. */
export interface Progress {
  readonly phase: "sampling" | "training" | "evaluation";
  readonly done: number;
  readonly total: number;
}

export type ProgressListener = (progress: Progress) => void;
