import type { OptimizerState } from "./optimizer.js";

/** What a run goes on from: a step makes the next one from it and changes nothing else. */
export interface TrainState {
  /** Steps done. */
  readonly step: number;
  /** Tokens seen in training, prompts counted once a completion. */
  readonly tokens: number;
  readonly optimizer: OptimizerState;
  /** Of the last step, to see whether steps agree; null where it stays in native memory. */
  readonly lastGradient: Float64Array | null;
}
