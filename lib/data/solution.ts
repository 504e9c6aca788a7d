import { valueAt } from "./columns.js";
import type { Example } from "./example.js";

/** Columns of worked answers, and those of answers, which may be worked. */
const WORKED = ["completion", "solution", "rationale"];
const ANSWERS = ["answer", "target"];

/**
 * The worked answer of a problem, as its row gives it: what SFT teaches. `column` is the one that `answer_column` names;
 * what it holds is taught whole, although only what is boxed or follows #### is the answer. Empty where there is none.
 */
export function solutionOf({ row, answer }: Example, column: string | null): string {
  const columns = [...WORKED, ...(column === null ? [] : [column]), ...ANSWERS];
  const texts = columns.map((name) => valueAt(row, name));
  const found = texts.find((text): text is string => typeof text === "string" && text !== "");
  return found === undefined ? answer : found.trim();
}
