/**
 * states.jsonl of a run folder: the state after every step (step 0: before the first), a line each, as in a checkpoint's
 * state.json. A step is a function of the state before it, so any step can be made again.
 */
import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import type { TrainState } from "../train/state.js";
import { decodeState, encodeState } from "./checkpoint.js";
import { wholeLines } from "./lines.js";

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

/**
 * The states that a run has kept, by step, one at a time: together they may not fit in memory. ERR_RUN where it has kept
 * none.
 */
export async function* readHistory(run: string): AsyncGenerator<TrainState> {
  const path = join(run, HISTORY_FILE);
  let read = 0;
  for await (const line of wholeLines(path)) {
    read++;
    let state: TrainState;
    try {
      state = decodeState(JSON.parse(line));
    } catch (cause) {
      throw new TinyLoraError("ERR_RUN", `${path}: line ${read}: not a state: ${(cause as Error).message}`, { cause });
    }
    yield state;
  }
  if (read > 0) return;
  throw new TinyLoraError(
    "ERR_RUN",
    `${path}: expected the states of the run's steps, found none: they are kept where v is trained and has at most ${MOST_KEPT} numbers with the optimiser's`,
  );
}
