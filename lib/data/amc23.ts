import { type DatasetSpec, field } from "./example.js";

/** AMC 12 of 2023: 40 contest problems. */
export const amc23: DatasetSpec = {
  files: { test: "amc23/test.jsonl" },
  toProblem: (row) => ({ question: field(row, "problem"), answer: field(row, "answer") }),
};
