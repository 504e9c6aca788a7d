import type { Example } from "../data/example.js";
import type { ModuleReward } from "./module-reward.js";

/**
 * A reward is a function of a completion's text and its example. null: it does not apply to this example, and counts
 * neither for the completion nor in its group's mean.
 *
 * @example const short: Reward = (completion) => -completion.length / 1000;
 */
export type Reward = (completion: string, example: Example) => number | null | Promise<number | null>;

/** A reward under the name that metrics and messages use. */
export interface NamedReward {
  readonly name: string;
  /** In a thread of its own where it comes from a module. */
  readonly reward: Reward | ModuleReward;
}
