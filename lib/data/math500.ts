import { field } from "./columns.js";
import type { DatasetSpec } from "./example.js";

/** A part of MATH's test set: high-school competition problems. */
export const math500: DatasetSpec = {
  files: { test: "math500/test.jsonl" },
  hub: { repo: "HuggingFaceH4/MATH-500", test: /test/ },
  toProblem: (row) => ({ question: field(row, "problem"), answer: field(row, "answer") }),
};
