import type { Adapter } from "../adapter/adapter.js";
import { describedConfig } from "../config/described.js";
import { checkUnused, type SftOptions } from "../config/method.js";
import type { TrainConfig } from "../config/schema.js";
import { Epochs } from "../data/order.js";
import { checkOptions } from "./check-options.js";
import type { TrainerOptions } from "./grpo-trainer.js";
import type { TrainCallbacks, TrainResult } from "./run.js";
import { sftStep } from "./sft.js";
import { runConfig, trainRun } from "./train-run.js";
import type { Trained } from "./trainable.js";
import { trainingData } from "./training-data.js";
import { usableProblems } from "./usable.js";

export interface SftTrainerOptions<T extends Trained = Adapter> extends Omit<TrainerOptions<T>, "config"> {
  readonly config?: SftOptions | undefined;
}

/**
 * Trains on the worked answers of a data set: `num_prompts` of them a step.
 *
 * @example
 * const trainer = new SftTrainer({ engine, adapter: FullWeights.of(engine), config: { data: "gsm8k", learning_rate: 1e-5 } });
 * const { adapter: trained } = await trainer.train({ onStep: ({ step, metrics }) => console.log(step, metrics.loss) });
 */
export class SftTrainer<T extends Trained = Adapter> {
  readonly #options: SftTrainerOptions<T>;
  readonly #config: TrainConfig;

  constructor(options: SftTrainerOptions<T>) {
    checkOptions(options);
    this.#options = options;
    this.#config = describedConfig(options.adapter, options.engine.model.path, options.config ?? {});
    checkUnused("sft", this.#config);
  }

  /** Runs to max_steps, or until the signal. Rejects on an error; the run folder then holds the last finished step. */
  async train(callbacks: TrainCallbacks = {}): Promise<TrainResult<T>> {
    const { engine: policy } = this.#options;
    const config = await runConfig(this.#options, this.#config, "sft");
    const data = await trainingData(this.#options, config, callbacks);
    const usable = await usableProblems(policy, data.train, config, "solution", callbacks);
    const examples = new Epochs(usable, config.seed);
    const onProgress = callbacks.onProgress ?? (() => {});
    return trainRun(this.#options, config, data, callbacks, "sft", (trainable) => (state, signal) => {
      return sftStep({ policy, trainable, examples, config, onProgress }, state, signal);
    });
  }
}
