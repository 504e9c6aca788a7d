import type { Example } from "./example.js";

const FIELDS = ["completion", "solution", "rationale", "answer", "target"];

/** The worked answer of a problem, as its row gives it: what SFT teaches. Empty when there is none. */
export function solutionOf({ row, answer }: Example): string {
  const name = FIELDS.find((field) => typeof row[field] === "string" && row[field] !== "");
  return name === undefined ? answer : String(row[name]).trim();
}
