import { readHistory } from "../../../lib/run/history.js";
import type { TrainState } from "../../../lib/train/run.js";

/** All states that a run has kept, in order. */
export async function statesOf(run: string): Promise<TrainState[]> {
  const states: TrainState[] = [];
  for await (const state of readHistory(run)) states.push(state);
  return states;
}
