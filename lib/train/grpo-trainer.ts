import type { Adapter } from "../adapter/adapter.js";
import { describedConfig } from "../config/described.js";
import type { TrainConfig, TrainOptions } from "../config/schema.js";
import type { Dataset } from "../data/load.js";
import { Epochs } from "../data/order.js";
import type { Reward } from "../reward/reward.js";
import { namedRewards } from "../reward/rewards.js";
import { checkRewardedOptions } from "./check-options.js";
import { grpoOutcome } from "./grpo-outcome.js";
import type { TrainCallbacks, TrainResult } from "./run.js";
import { runConfig, trainRun } from "./train-run.js";
import type { TrainablePolicy, Trained } from "./trainable.js";
import { trainingData } from "./training-data.js";
import { needOf, usableProblems } from "./usable.js";
import { Watch } from "./watch.js";

export interface TrainerOptions<T extends Trained = Adapter> {
  readonly engine: TrainablePolicy;
  /** What to train, from its numbers on: an adapter, or the model's own weights. */
  readonly adapter: T;
  /**
   * Options of the run; what is left out has the default of the schema, or is what `adapter` is. A run that is resumed has
   * its own: others are refused, but for `max_steps`, `gradient_checkpointing`, `keep_activations` and what belongs to the
   * machine.
   */
  readonly config?: TrainOptions | undefined;
  /**
   * Problems; by default the data set that `config.data` names, and for evaluation `config.eval_data`. Each of one's own
   * has `id`, `question`, `answer` ("" where rewards need none) and `row`, whatever else rewards may look at; `test` is
   * what is evaluated, and `config.eval_data` is refused beside it.
   */
  readonly data?: Dataset | undefined;
  /** Folder for config, metrics, completions and checkpoints. Nothing is written when it is left out. */
  readonly run?: string | undefined;
  /** Go on with the run in that folder from its newest checkpoint, bit for bit. */
  readonly resume?: boolean | undefined;
}

export interface GrpoTrainerOptions<T extends Trained = Adapter> extends TrainerOptions<T> {
  /** Rewards by name; by default those that `config.rewards` names. */
  readonly rewards?: Readonly<Record<string, Reward>> | undefined;
}

/**
 * Trains an adapter by GRPO.
 *
 * @example
 * await using engine = await Engine.load("models/SmolLM2-135M-Instruct");
 * const trainer = new GrpoTrainer({
 *   engine,
 *   adapter: Adapter.create(engine),
 *   config: { data: "svamp", max_steps: 100 },
 *   run: "runs/svamp",
 * });
 * const { adapter } = await trainer.train({ onStep: ({ step, metrics }) => console.log(step, metrics.reward) });
 */
export class GrpoTrainer<T extends Trained = Adapter> {
  readonly #options: GrpoTrainerOptions<T>;
  readonly #config: TrainConfig;

  constructor(options: GrpoTrainerOptions<T>) {
    checkRewardedOptions(options);
    const named = options.rewards && Object.keys(options.rewards);
    this.#options = options;
    this.#config = describedConfig(options.adapter, options.engine.model.path, {
      ...options.config,
      ...(named ? { rewards: named } : {}),
    });
  }

  /** Runs to max_steps, or until the signal. Rejects on an error; the run folder then holds the last finished step. */
  async train(callbacks: TrainCallbacks = {}): Promise<TrainResult<T>> {
    const { engine } = this.#options;
    // Problems and rewards first: where they cannot be had, nothing is written.
    const config = await runConfig(this.#options, this.#config, "grpo");
    const data = await trainingData(this.#options, config, callbacks);
    const rewards = await namedRewards(this.#options.rewards, config, callbacks.signal);
    const usable = await usableProblems(engine, data.train, config, needOf(rewards), callbacks);
    const examples = new Epochs(usable, config.seed);
    const watch = new Watch(rewards, callbacks.onWarning ?? (() => {}));
    const onProgress = callbacks.onProgress ?? (() => {});
    return trainRun(this.#options, config, data, callbacks, "grpo", (trainable) => {
      const context = { policy: engine, trainable, examples, rewards, config, onProgress };
      return (state, signal) => grpoOutcome(context, state, signal, (result) => watch.see(result));
    });
  }
}
