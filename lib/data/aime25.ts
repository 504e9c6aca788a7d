import { mathProblem } from "./columns.js";
import type { DatasetSpec } from "./example.js";

/** AIME 2025: 30 contest problems with whole numbers from 0 to 999 as answers. */
export const aime25: DatasetSpec = {
  files: { test: "aime25/test.jsonl" },
  hub: { repo: "math-ai/aime25", test: /test/ },
  toProblem: mathProblem,
};
