import type { Adapter } from "../adapter/adapter.js";
import { resolveConfig } from "../config/config.js";
import type { TrainConfig, TrainOptions } from "../config/schema.js";
import type { Example } from "../data/example.js";
import { type Dataset, loadDataset } from "../data/load.js";
import { spread } from "../data/order.js";
import { randomUniform } from "../data/philox.js";
import { TinyLoraError } from "../error.js";
import { evaluate, greedy } from "../eval/evaluate.js";
import type { NamedReward, Reward } from "../reward/reward.js";
import { loadReward } from "../reward/rewards.js";
import { RunFolder, readRunInfo } from "../run/folder.js";
import { grpoStep, type StepContext, type StepResult, type TrainState } from "./grpo.js";
import { type Metrics, measuredMetrics } from "./metrics.js";
import { initialState } from "./optimizer.js";
import type { Policy } from "./policy.js";
import type { ProgressListener } from "./progress.js";
import { Watch } from "./watch.js";

/** A policy that adapters can be attached to: Engine is one. */
export interface TrainablePolicy extends Policy {
  attach(adapter: Adapter, options?: { signal?: AbortSignal | undefined }): Promise<void>;
}

export interface GrpoTrainerOptions {
  readonly engine: TrainablePolicy;
  /** What to train, from its v on. */
  readonly adapter: Adapter;
  /** Options of the run; what is left out has the default of the schema. A run that is resumed has its own. */
  readonly config?: TrainOptions;
  /** Problems; by default the data set that `config.data` names, and for evaluation `config.eval_data`. */
  readonly data?: Dataset;
  /** Rewards by name; by default those that `config.rewards` names. */
  readonly rewards?: Readonly<Record<string, Reward>>;
  /** Folder for config, metrics, completions and checkpoints. Nothing is written when it is left out. */
  readonly run?: string;
  /** Go on with the run in that folder from its newest checkpoint, bit for bit. */
  readonly resume?: boolean;
}

export interface TrainCallbacks {
  /** Gives the step up at once, saves the last finished one, and lets `train` return. */
  readonly signal?: AbortSignal;
  /** After every step, and once before the first (step 0) when it is evaluated. */
  readonly onStep?: (report: StepReport) => void | Promise<void>;
  /** Within a step. */
  readonly onProgress?: ProgressListener;
  readonly onWarning?: (message: string) => void;
}

export interface StepReport {
  readonly step: number;
  readonly steps: number;
  /** What metrics.jsonl holds: the same in a repeated or resumed run. */
  readonly metrics: Metrics;
  /** Seconds, rates and memory. */
  readonly measured: Metrics;
}

export interface TrainResult {
  readonly stopped: "finished" | "aborted";
  readonly step: number;
  readonly adapter: Adapter;
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
export class GrpoTrainer {
  readonly #options: GrpoTrainerOptions;
  readonly #config: TrainConfig;

  constructor(options: GrpoTrainerOptions) {
    if (options.resume && options.run === undefined) {
      throw new TinyLoraError("ERR_ARGUMENT", "resume: expected the folder of a run in `run`");
    }
    const named = options.rewards && Object.keys(options.rewards);
    this.#options = options;
    this.#config = resolveConfig({ ...options.config, ...(named ? { rewards: named } : {}) });
  }

  /** Runs to max_steps, or until the signal. Rejects on an error; the run folder then holds the last finished step. */
  async train(callbacks: TrainCallbacks = {}): Promise<TrainResult> {
    const { engine, adapter, run: path, resume } = this.#options;
    // Problems and rewards first: where they cannot be had, nothing is written.
    const given = resume && path !== undefined ? (await readRunInfo(path)).config : this.#config;
    const data = await this.#data(given, callbacks);
    const rewards = await this.#rewards(given);
    await engine.attach(adapter, { signal: callbacks.signal });
    const run = path === undefined ? null : await this.#openRun(path, resume ?? false, adapter);
    try {
      return await this.#loop(run, run?.info.config ?? this.#config, data, rewards, callbacks);
    } finally {
      await run?.close();
    }
  }

  async #openRun(path: string, resume: boolean, adapter: Adapter): Promise<RunFolder> {
    const { fingerprint, v } = adapter;
    if (!resume) return RunFolder.create(path, { config: this.#config, fingerprint, parameters: v.length });
    const { max_steps } = this.#options.config ?? {};
    const run = await RunFolder.open(path, max_steps === undefined ? {} : { max_steps: this.#config.max_steps });
    if (run.info.fingerprint === fingerprint && run.info.parameters === v.length) return run;
    await run.close();
    throw new TinyLoraError(
      "ERR_RUN",
      `${path}: expected an adapter of ${run.info.parameters} numbers for the model ${run.info.fingerprint}, found ${v.length} for ${fingerprint}`,
    );
  }

  async #loop(
    run: RunFolder | null,
    config: TrainConfig,
    data: Dataset,
    rewards: readonly NamedReward[],
    callbacks: TrainCallbacks,
  ): Promise<TrainResult> {
    const { engine, adapter } = this.#options;
    const { signal, onStep, onProgress = () => {}, onWarning = () => {} } = callbacks;
    const watch = new Watch(rewards, onWarning);
    const current = (state: TrainState) => adapter.withVector(state.optimizer.master);
    const context: StepContext = {
      policy: engine,
      examples: data.train,
      rewards,
      config,
      round: (master) => adapter.withVector(master).v,
      onProgress,
    };
    const save = async (state: TrainState) => run?.saveCheckpoint(state, current(state));
    const report = async (step: number, metrics: Metrics, measured: Metrics) => {
      await run?.appendMetrics({ step, ...metrics, measured });
      await onStep?.({ step, steps: config.max_steps, metrics, measured });
    };

    let state = (await run?.restore(onWarning)) ?? null;
    try {
      if (state === null) {
        const first = firstState(adapter, config);
        const held = await this.#evaluation(first, data.test, config, context, signal);
        if (held) await report(0, held.metrics, held.measured);
        await save(first);
        state = first;
      }
      while (state.step < config.max_steps) {
        signal?.throwIfAborted();
        const result: StepResult = await grpoStep(context, state, signal);
        const next = result.state;
        watch.see(result);
        const held = await this.#evaluation(next, data.test, config, context, signal);
        await run?.writeCompletions(next.step, result.sequences.map(readable));
        const measured = measuredMetrics(
          result.clock,
          result.sequences,
          config.num_iterations,
          engine.memory().peakRss,
        );
        await report(next.step, { ...result.metrics, ...held?.metrics }, { ...measured, ...held?.measured });
        state = next;
        if (state.step % config.save_steps === 0 || state.step === config.max_steps) await save(state);
      }
      engine.setVector(0, context.round(state.optimizer.master));
      return { stopped: "finished", step: state.step, adapter: current(state) };
    } catch (error) {
      // The step in progress is given up: policy and run folder go back to the last finished one.
      const last = state ?? firstState(adapter, config);
      try {
        if (state) await save(state);
        engine.setVector(0, context.round(last.optimizer.master));
      } catch (second) {
        onWarning(`after an error: ${(second as Error).message}`);
      }
      if (!signal?.aborted) throw error;
      return { stopped: "aborted", step: last.step, adapter: current(last) };
    }
  }

  /** Greedy accuracy on held-out problems, in the steps that eval_steps names. */
  async #evaluation(
    state: TrainState,
    heldOut: readonly Example[],
    config: TrainConfig,
    context: StepContext,
    signal: AbortSignal | undefined,
  ): Promise<{ metrics: Metrics; measured: Metrics } | null> {
    const due = config.eval_steps > 0 && (state.step % config.eval_steps === 0 || state.step === config.max_steps);
    if (!due || heldOut.length === 0) return null;
    context.policy.setVector(0, context.round(state.optimizer.master));
    const result = await evaluate(context.policy, spread(heldOut, config.eval_examples), {
      ...config,
      ...greedy,
      slot: 0,
      signal,
      onProgress: (done, total) => context.onProgress({ phase: "evaluation", done, total }),
    });
    return {
      metrics: {
        "eval/strict": result.strict,
        "eval/lenient": result.lenient,
        "eval/format": result.format,
        "eval/mean_length": result.meanLength,
        "eval/clipped_ratio": result.truncated,
        "eval/problems": result.problems,
      },
      measured: { "seconds/evaluation": result.seconds },
    };
  }

  async #data(config: TrainConfig, { signal, onWarning = () => {} }: TrainCallbacks): Promise<Dataset> {
    const load = async (source: string) => {
      const dataset = await loadDataset(source, { ...config, signal });
      const skipped = dataset.skipped ?? [];
      if (skipped.length > 0) onWarning(`${source}: ${skipped.length} broken rows left out, the first: ${skipped[0]}`);
      return dataset;
    };
    const data = this.#options.data ?? (await load(config.data));
    if (data.train.length === 0) {
      throw new TinyLoraError("ERR_DATA", `data: ${data.name} has no problems for training, only for evaluation`);
    }
    if (config.eval_data === null || this.#options.data) return data;
    const { train, test } = await load(config.eval_data);
    return { ...data, test: test.length > 0 ? test : train };
  }

  async #rewards(config: TrainConfig): Promise<NamedReward[]> {
    const { rewards } = this.#options;
    if (!rewards) return Promise.all(config.rewards.map(loadReward));
    return Object.entries(rewards).map(([name, reward]) => ({ name, reward }));
  }
}

function firstState(adapter: Adapter, config: TrainConfig): TrainState {
  const start =
    config.init === "zero"
      ? adapter.v
      : adapter.v.map((_, i) => 0.02 * (2 * randomUniform(config.seed, "init", i) - 1));
  return { step: 0, tokens: 0, optimizer: initialState(start, config), lastGradient: null };
}

/** A line of completions/step-N.jsonl. */
function readable({ group, completion, advantage }: StepResult["sequences"][number]): object {
  return {
    id: group.example.id,
    question: group.example.question,
    expected: group.example.answer,
    completion: completion.text,
    tokens: completion.tokens.length,
    truncated: completion.truncated,
    rewards: completion.rewards,
    advantage,
    ...completion.grade,
  };
}
