import { strictAnswer } from "./read-answer.js";
import type { Reward } from "./reward.js";

/** 1 where an answer stands after `####` or in \boxed{}, right or wrong, else 0. */
export const formatReward: Reward = (completion) => (strictAnswer(completion) === null ? 0 : 1);
