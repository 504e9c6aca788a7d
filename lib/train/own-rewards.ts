/** Rewards that a program brings as functions: a run's folder can keep no more of them than their names. */
import { isDeepStrictEqual } from "node:util";
import { TinyLoraError } from "../error.js";
import type { Reward } from "../reward/reward.js";
import type { RunInfo } from "../run/run-info.js";

/**
 * ERR_RUN where a run had rewards of its program's own and is given none, whose options may name others just so, or where
 * those given have other names than it began with.
 */
export function checkOwnRewards(
  run: string,
  { ownRewards: names, config }: RunInfo,
  given: Readonly<Record<string, Reward>> | undefined,
): void {
  if (given !== undefined && !isDeepStrictEqual(Object.keys(given), config.rewards)) {
    const [expected, found] = [config.rewards, Object.keys(given)].map((rewards) => rewards.join(", "));
    throw new TinyLoraError("ERR_RUN", `${run}: expected the rewards that it began with (${expected}), found ${found}`);
  }
  if (given !== undefined || names.length === 0) return;
  throw new TinyLoraError(
    "ERR_RUN",
    `${run}: its rewards (${names.join(", ")}) are functions of the program that began it: only a program that gives them to GrpoTrainer or replayStep can resume or replay it`,
  );
}
