import type { Reward } from "./reward.js";

/** Share of characters that are digits. It differs within nearly every group: for measuring steps, not for learning. */
export const digitsReward: Reward = (completion) => {
  const characters = [...completion];
  return characters.filter((character) => /\p{Nd}/u.test(character)).length / Math.max(1, characters.length);
};
