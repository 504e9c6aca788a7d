import { anyProblem } from "./columns.js";
import type { DatasetSpec } from "./example.js";

/**
 * The training mixes of SimpleRL-Zoo (Zeng et al. 2025), from GSM8K and MATH by difficulty: easy is GSM8K and level 1,
 * medium levels 1 to 4, hard levels 3 to 5, with the chat prompt for Qwen left out: prompts are made here.
 */
function mix(name: string, folder: string): DatasetSpec {
  return {
    files: { train: `${name}/train.parquet`, test: `${name}/test.parquet` },
    hub: {
      repo: "hkust-nlp/SimpleRL-Zoo-Data",
      train: new RegExp(`^${folder}/train`),
      test: new RegExp(`^${folder}/test`),
    },
    // `question` is the problem itself, `prompt` the problem in a template.
    toProblem: (row) => anyProblem(row, { question_column: null, answer_column: null }),
  };
}

export const simplerl_easy = mix("simplerl_easy", "simplelr_qwen_gsm8k_level1");
export const simplerl_medium = mix("simplerl_medium", "simplelr_qwen_level1to4");
export const simplerl_hard = mix("simplerl_hard", "simplelr_qwen_level3to5");
