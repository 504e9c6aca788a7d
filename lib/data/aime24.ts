import { type DatasetSpec, field } from "./example.js";

/** AIME 2024: 30 contest problems with whole numbers from 0 to 999 as answers. */
export const aime24: DatasetSpec = {
  files: { test: "aime24/test.jsonl" },
  toProblem: (row) => ({ question: field(row, "problem"), answer: field(row, "answer") }),
};
