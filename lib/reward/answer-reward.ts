import { grade } from "./answer.js";
import type { Reward } from "./reward.js";

/** 1 for the right answer wherever the text says it, else 0. */
export const answerReward: Reward = (completion, example) => (grade(completion, example.answer).lenient ? 1 : 0);

/** 1 for the right answer after `####` or in \boxed{}, else 0. */
export const strictReward: Reward = (completion, example) => (grade(completion, example.answer).strict ? 1 : 0);
