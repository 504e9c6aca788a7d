import { type DatasetSpec, field } from "./example.js";

/** A part of MATH's test set: high-school competition problems. */
export const math500: DatasetSpec = {
  files: { test: "math500/test.jsonl" },
  toProblem: (row) => ({ question: field(row, "problem"), answer: field(row, "answer") }),
};
