import { mathProblem } from "./columns.js";
import type { DatasetSpec } from "./example.js";

/**
 * High-school competition problems in seven subjects and five levels (Hendrycks et al. 2021): the answer is boxed in the
 * solution.
 */
export const math: DatasetSpec = {
  files: { train: "math/train.jsonl", test: "math/test.jsonl" },
  hub: { repo: "EleutherAI/hendrycks_math", train: /\/train/, test: /\/test/ },
  toProblem: mathProblem,
};
