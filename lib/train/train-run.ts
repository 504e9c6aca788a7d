/** From a trainer's options to a running loop: what GRPO and SFT share before their first step. */
import { isDeepStrictEqual } from "node:util";
import { claim } from "../claim.js";
import { resolveConfig } from "../config/config.js";
import { differences } from "../config/described.js";
import { checkMethod, type Method } from "../config/method.js";
import type { TrainConfig, TrainOptions } from "../config/schema.js";
import type { Example } from "../data/example.js";
import { fingerprintOf } from "../data/fingerprint.js";
import type { Dataset } from "../data/load.js";
import { TinyLoraError } from "../error.js";
import { CHANGEABLE, checkStepsMade, RESUMABLE, type RunChanges, type RunFolder } from "../run/folder.js";
import { readRunInfo } from "../run/run-info.js";
import { show } from "../show.js";
import type { GrpoTrainerOptions } from "./grpo-trainer.js";
import { arithmeticOf, checkRun, openRun } from "./open-run.js";
import { checkOwnRewards } from "./own-rewards.js";
import { otherPrompts, promptFingerprint } from "./prompt-fingerprint.js";
import { runSteps, type Step, type TrainCallbacks, type TrainResult } from "./run.js";
import { makeTrainable, type Trainable, type Trained } from "./trainable.js";
import { heldOutProblems } from "./usable.js";

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
    const info = {
      method,
      ownRewards: Object.keys(options.rewards ?? {}),
      problems,
      prompt: promptFingerprint(options.engine, config),
      arithmetic: arithmeticOf(options.engine.device),
      config,
      fingerprint,
      parameters: trainable.parameters,
    };
    const run = await openRun(path, resume, info, changesOf(options.config, config));
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
