import { field } from "./columns.js";
import type { DatasetSpec } from "./example.js";

/** Grade-school word problems of 2 to 8 steps; the answer is the number after `####`. */
export const gsm8k: DatasetSpec = {
  files: { train: "gsm8k/train.jsonl", test: "gsm8k/test.jsonl" },
  hub: { repo: "openai/gsm8k", train: /^main\/train/, test: /^main\/test/ },
  toProblem(row) {
    const answer = field(row, "answer").split("####");
    if (answer.length < 2) throw new Error(`expected "#### <number>" in "answer"`);
    return { question: field(row, "question"), answer: answer.at(-1)!.trim() };
  },
};
