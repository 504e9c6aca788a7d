import { readHistory } from "../../../lib/run/history.js";
import type { TrainState } from "../../../lib/train/state.js";

/** All states that a run has kept, in order. */
export async function statesOf(run: string): Promise<TrainState[]> {
  const states: TrainState[] = [];
  for await (const state of readHistory(run)) states.push(state);
  return states;
}

/** Of a step, with numbers that lose bits easily. */
export const state = (step: number): TrainState => ({
  step,
  tokens: 100 * step,
  optimizer: {
    updates: step,
    master: Float32Array.of(step, -0, 1e-42, 0.1),
    moments: [Float64Array.of(1 / 3, -0, 5e-324, step), Float64Array.of(0, 1, 2, 3)],
  },
  lastGradient: step === 0 ? null : Float64Array.of(0.1, 0.2, 0.3, 0.4),
});
