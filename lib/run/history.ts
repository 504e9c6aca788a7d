/**
 * states.jsonl of a run folder: the state after every step (step 0: before the first), a line each, as in a checkpoint's
 * state.json. A step is a function of the state before it, so any step can be made again.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import { readingIfThere } from "../files.js";
import type { TrainState } from "../train/run.js";
import { decodeState, encodeState } from "./checkpoint.js";

export const HISTORY_FILE = "states.jsonl";
/** Numbers of a state, v and the optimiser's, up to which it is kept: about 11 bytes each. */
export const MOST_KEPT = 16384;

/** null where the trained numbers are not in the state (weights), or too many. */
export function historyLine(state: TrainState): string | null {
  const { master, moments } = state.optimizer;
  const numbers = moments.reduce((sum, moment) => sum + moment.length, master.length);
  return master.length === 0 || numbers > MOST_KEPT ? null : `${JSON.stringify(encodeState(state))}\n`;
}

export function stepOfState(line: string): number {
  try {
    return decodeState(JSON.parse(line)).step;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** The states that a run has kept, by step. ERR_RUN where it has kept none. */
export async function readHistory(run: string): Promise<Map<number, TrainState>> {
  const path = join(run, HISTORY_FILE);
  const text = await readingIfThere(path, () => readFile(path, "utf8"), "");
  const states = new Map<number, TrainState>();
  for (const line of text.split("\n").slice(0, -1)) {
    try {
      const state = decodeState(JSON.parse(line));
      states.set(state.step, state);
    } catch (cause) {
      throw new TinyLoraError("ERR_RUN", `${path}: line ${states.size + 1}: not a state: ${(cause as Error).message}`, {
        cause,
      });
    }
  }
  if (states.size > 0) return states;
  throw new TinyLoraError(
    "ERR_RUN",
    `${path}: expected the states of the run's steps, found none: they are kept where v is trained and has at most ${MOST_KEPT} numbers with the optimiser's`,
  );
}
