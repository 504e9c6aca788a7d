/** One problem. */
export interface Example {
  /** Where it comes from, for messages and logs: `gsm8k/train/17`, counted from 1. */
  readonly id: string;
  readonly question: string;
  /** The expected answer as the data gives it; empty when there is none. */
  readonly answer: string;
  /** The row as it was read, for rewards that need more. */
  readonly row: Readonly<Record<string, unknown>>;
}

export type Split = "train" | "test";
export type Problem = Pick<Example, "question" | "answer">;

/** A data set is one file that says where its rows lie and what a row means. */
export interface DatasetSpec {
  /**
   * Files under the data folder; another extension (.parquet, .csv, ...) will do. With one file for both, `heldOut`
   * (split.ts) decides which rows are for testing.
   */
  readonly files: Readonly<Partial<Record<Split, string>>>;
  /** Where the hub has it, and which of its files there are which part. */
  readonly hub?: { readonly repo: string } & Readonly<Partial<Record<Split, RegExp>>>;
  /** Question and answer of a row; throws a message without place when it is broken. */
  toProblem(row: Record<string, unknown>): Problem;
}
