import { field } from "./columns.js";
import type { DatasetSpec } from "./example.js";

/** Short word problems, most of one or two steps. */
export const mawps: DatasetSpec = {
  files: { train: "mawps/all.jsonl", test: "mawps/all.jsonl" },
  toProblem: (row) => ({ question: field(row, "input"), answer: field(row, "target") }),
};
