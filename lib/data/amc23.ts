import { field } from "./columns.js";
import type { DatasetSpec } from "./example.js";

/** AMC 12 of 2023: 40 contest problems. */
export const amc23: DatasetSpec = {
  files: { test: "amc23/test.jsonl" },
  hub: { repo: "math-ai/amc23", test: /test/ },
  toProblem: (row) => ({
    question: field(row, "problem" in row ? "problem" : "question"),
    answer: field(row, "answer"),
  }),
};
