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

/** A data set is one file that says where its rows lie and what a row means. */
export interface DatasetSpec {
  /** Files under the data folder. With one file for both, `heldOut` (split.ts) decides which rows are for testing. */
  readonly files: Readonly<Partial<Record<Split, string>>>;
  /** Question and answer of a row; throws a message without place when it is broken. */
  toProblem(row: Record<string, unknown>): { question: string; answer: string };
}

/** A text or number of a row, as text. */
export function field(row: Record<string, unknown>, name: string): string {
  const value = row[name];
  if (typeof value === "string" && value.trim() !== "") return value.trim();
  if (typeof value === "number" && Number.isFinite(value)) return String(value);
  const found = value === undefined ? `only ${Object.keys(row).join(", ") || "nothing"}` : JSON.stringify(value);
  throw new Error(`expected a text or number named "${name}", found ${found}`);
}
