/** Rewards that a program brings as functions: a run's folder can keep no more of them than their names. */
import { TinyLoraError } from "../error.js";
import type { Reward } from "../reward/reward.js";
import type { RunInfo } from "../run/folder.js";

type Given = Readonly<Record<string, Reward>> | undefined;

export function ownRewards(given: Given): string[] {
  return Object.keys(given ?? {});
}

/** ERR_RUN where a run had rewards of its program's own and is given none: its options may name others just so. */
export function checkOwnRewards(run: string, { ownRewards: names }: RunInfo, given: Given): void {
  if (given !== undefined || names.length === 0) return;
  throw new TinyLoraError(
    "ERR_RUN",
    `${run}: its rewards (${names.join(", ")}) are functions of the program that began it: only a program that gives them to GrpoTrainer or replayStep can resume or replay it`,
  );
}
