/** From a trainer's options to a running loop: what GRPO and SFT share before their first step. */
import { resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { claim } from "../claim.js";
import { resolveConfig } from "../config/config.js";
import { differences } from "../config/described.js";
import { checkMethod, type Method } from "../config/method.js";
import type { TrainConfig, TrainOptions } from "../config/schema.js";
import { type Columns, checkAnswer } from "../data/columns.js";
import type { Example } from "../data/example.js";
import { fingerprintOf } from "../data/fingerprint.js";
import { type Dataset, isNamed, loadDataset } from "../data/load.js";
import { guarded, type OnBroken, stop } from "../data/rows.js";
import { TinyLoraError } from "../error.js";
import { CHANGEABLE, checkStepsMade, RESUMABLE, type RunChanges, type RunFolder, readRunInfo } from "../run/folder.js";
import { show } from "../show.js";
import { checkOwnRewards, ownRewards } from "./own-rewards.js";
import { otherPrompts, promptFingerprint } from "./prompt-fingerprint.js";
import {
  arithmeticOf,
  checkRun,
  openRun,
  runSteps,
  type StepOutcome,
  type TrainCallbacks,
  type TrainResult,
  type TrainState,
} from "./run.js";
import { makeTrainable, type Trainable, type Trained } from "./trainable.js";
import type { GrpoTrainerOptions, TrainerOptions } from "./trainer.js";
import { heldOutProblems } from "./usable.js";

export type Step = (state: TrainState, signal?: AbortSignal) => Promise<StepOutcome>;

/** A run that is resumed has its own options, but for those that may change. */
export async function runConfig(
  { run, resume, config, adapter, rewards }: GrpoTrainerOptions<Trained>,
  given: TrainConfig,
  method: Method,
): Promise<TrainConfig> {
  checkMethod(method, given);
  if (!resume || run === undefined) return given;
  const info = await readRunInfo(run);
  checkOwnRewards(run, info, rewards);
  const different = differences(adapter, info.config);
  if (different !== null)
    throw new TinyLoraError("ERR_RUN", `${run}: it does not train the adapter given: ${different}`);
  checkUnchanged(run, info.config, config, given);
  const resumed = resolveConfig({ ...info.config, ...changesOf(config, given) }, run);
  await checkStepsMade(run, resumed);
  return resumed;
}

/** Of a resumed run, options that are given as others than it began with would have no effect. `config`: as given. */
function checkUnchanged(run: string, begun: TrainConfig, given: TrainOptions = {}, config: TrainConfig): void {
  const keys = (Object.keys(given) as (keyof TrainConfig)[]).filter((key) => !RESUMABLE.includes(key));
  const changed = keys.filter((key) => given[key] !== undefined && !isDeepStrictEqual(config[key], begun[key]));
  if (changed.length === 0) return;
  const told = changed.map((key) => `${key}: expected ${show(begun[key])}, found ${show(config[key])}`);
  throw new TinyLoraError("ERR_RUN", `${run}: a run goes on with the options that it began with: ${told.join("; ")}`);
}

/** What a resumed run is given anew, of `given` with all defaults in `config`. */
function changesOf(given: TrainOptions = {}, config: TrainConfig): RunChanges {
  return Object.fromEntries(CHANGEABLE.filter((key) => given[key] !== undefined).map((key) => [key, config[key]]));
}

/** The problems that a trainer was given, or else those that the options name. */
export async function trainingData(
  options: Pick<TrainerOptions<Trained>, "data">,
  config: TrainConfig,
  { signal, onWarning = () => {}, onProgress: listener = () => {} }: TrainCallbacks,
): Promise<Dataset> {
  const onProgress = (done: number, total: number) => listener({ phase: "fetching", done, total });
  const { question_column, answer_column, skip_bad } = config;
  const load = async (source: string, columns: Columns, check: (problem: Example) => void = () => {}) => {
    const { train, test, ...dataset } = await loadDataset(source, { ...columns, skip_bad, signal, onProgress });
    const skipped = [...(dataset.skipped ?? [])];
    const onBroken: OnBroken = config.skip_bad ? (error) => void skipped.push(error.message) : stop;
    const fits = (problem: Example) => guarded(onBroken, () => check(problem)).length > 0;
    const checked = { ...dataset, train: train.filter(fits), test: test.filter(fits) };
    if (skipped.length > 0) onWarning(`${source}: ${skipped.length} broken rows left out, the first: ${skipped[0]}`);
    return checked;
  };
  const data = options.data ?? (await load(config.data, { question_column, answer_column }));
  if (data.train.length === 0) {
    throw new TinyLoraError("ERR_DATA", `data: ${data.name} has no problems for training, only for evaluation`);
  }
  if (config.eval_data === null || options.data) return data;
  const { train, test, cut } = await load(config.eval_data, evalColumns(config), (problem) =>
    checkAnswer(problem, "eval_answer_column"),
  );
  // One's own problems are evaluated all of them, unless the run trains on some; a named set's are the part that others report.
  const whole = cut && !isNamed(config.eval_data) && resolve(config.eval_data) !== resolve(config.data);
  const heldOut = whole ? [...train, ...test] : test.length > 0 ? test : train;
  if (heldOut.length === 0) throw new TinyLoraError("ERR_DATA", `eval_data: ${config.eval_data} has no whole problems`);
  return { ...data, test: heldOut, testOf: config.eval_data };
}

/** A named set has columns of its own; another one those of the training data, unless it is given others. */
function evalColumns(config: TrainConfig): Columns {
  const shared = isNamed(config.eval_data!) ? { question_column: null, answer_column: null } : config;
  return {
    question_column: config.eval_question_column ?? shared.question_column,
    answer_column: config.eval_answer_column ?? shared.answer_column,
  };
}

/** `config` is that of `runConfig`, `data` that of `trainingData`. */
export async function trainRun<T extends Trained>(
  options: GrpoTrainerOptions<T>,
  config: TrainConfig,
  data: Dataset,
  callbacks: TrainCallbacks,
  method: Method,
  makeStep: (trainable: Trainable) => Step,
): Promise<TrainResult<T>> {
  const trainable = makeTrainable(options.engine, options.adapter, config);
  const heldOut = await heldOutProblems(options.engine, data, config, callbacks);
  const { run: path, resume = false } = options;
  const problems = path === undefined ? null : fingerprintOf(data.train);
  const { fingerprint } = trainable;
  if (path !== undefined) await checkRun(path, resume, { method, fingerprint, problems });
  const own = claim(options.engine);
  try {
    const { signal, onProgress: listener = () => {} } = callbacks;
    await trainable.attach({ signal, onProgress: (done, total) => listener({ phase: "SVD", done, total }) });
    own.fixAdapters();
    const run = await openRun(path, resume, config, trainable, changesOf(options.config, config), {
      method,
      device: options.engine.device,
      ownRewards: ownRewards(options.rewards),
      problems,
      prompt: promptFingerprint(options.engine, config),
    });
    return await openedRun(options, config, heldOut, run, callbacks, trainable, makeStep(trainable));
  } finally {
    own.release();
  }
}

/** The run in its open folder, which it closes. */
async function openedRun<T extends Trained>(
  { engine: policy }: GrpoTrainerOptions<T>,
  config: TrainConfig,
  heldOut: readonly Example[],
  run: RunFolder | null,
  callbacks: TrainCallbacks,
  trainable: Trainable,
  step: Step,
): Promise<TrainResult<T>> {
  try {
    const arithmetic = arithmeticOf(policy.device);
    if (run && run.info.arithmetic !== arithmetic) {
      callbacks.onWarning?.(
        `${run.path}: begun with the arithmetic of ${run.info.arithmetic}, goes on with that of ${arithmetic}: not with the same bits`,
      );
    }
    const others = run && otherPrompts(run.info, policy);
    if (others) callbacks.onWarning?.(`${run.path}: ${others}: not with the same bits`);
    const result = await runSteps({ policy, trainable, config, heldOut, step }, run, callbacks);
    return result as TrainResult<T>; // a trainable gives back the kind that it was made of
  } finally {
    await run?.close();
  }
}
