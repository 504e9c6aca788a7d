import { mathProblem } from "./columns.js";
import type { DatasetSpec } from "./example.js";

/** AIME 2024: 30 contest problems with whole numbers from 0 to 999 as answers. */
export const aime24: DatasetSpec = {
  files: { test: "aime24/test.jsonl" },
  hub: { repo: "math-ai/aime24", test: /test/ },
  toProblem: mathProblem,
};
