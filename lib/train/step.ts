import type { TrainConfig } from "../config/schema.js";
import type { Example } from "../data/example.js";
import type { Epochs } from "../data/order.js";
import type { Policy } from "../policy.js";
import type { NamedReward } from "../reward/reward.js";
import type { Clock } from "./clock.js";
import type { Sequence } from "./pass.js";
import type { ProgressListener } from "./progress.js";
import type { Metrics } from "./reported.js";
import type { TrainState } from "./state.js";
import type { Trainable } from "./trainable.js";

/** What a step of learning from rewards works with. */
export interface StepContext {
  readonly policy: Policy;
  readonly trainable: Trainable;
  readonly examples: Epochs<Example>;
  readonly rewards: readonly NamedReward[];
  readonly config: TrainConfig;
  readonly onProgress: ProgressListener;
}

export interface StepResult {
  readonly state: TrainState;
  readonly sequences: Sequence[];
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Rows of all training passes. */
  readonly rows: number;
  /** With `keep_activations`: the share of the rows before the first update whose forward pass was the sampler's. */
  readonly kept?: number | undefined;
}
