/**
 * Makes a step of a run again, from the state that the run kept before it, and compares what comes out with what the run
 * folder says: tokens, log-probabilities, rewards, advantages, metrics, v and the optimiser's state, bit for bit.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { claim } from "../claim.js";
import type { TrainConfig } from "../config/schema.js";
import { fingerprintOf } from "../data/fingerprint.js";
import type { Dataset } from "../data/load.js";
import { Epochs } from "../data/order.js";
import { TinyLoraError } from "../error.js";
import { readingIfThere } from "../files.js";
import { checkOptionNames } from "../option-names.js";
import type { Reward } from "../reward/reward.js";
import { namedRewards } from "../reward/rewards.js";
import { completionsFile } from "../run/folder.js";
import { HISTORY_FILE, readHistory } from "../run/history.js";
import { wholeLines } from "../run/lines.js";
import { METRICS_FILE } from "../run/metrics-file.js";
import { type RunInfo, readRunInfo } from "../run/run-info.js";
import { grpoOutcome } from "./grpo-outcome.js";
import { arithmeticOf, checkSameProblems, checkSameRun } from "./open-run.js";
import { checkState } from "./optimizer.js";
import { checkOwnRewards } from "./own-rewards.js";
import type { ProgressListener } from "./progress.js";
import { otherPrompts } from "./prompt-fingerprint.js";
import type { Metrics } from "./reported.js";
import type { StepOutcome } from "./run.js";
import { sftStep } from "./sft.js";
import type { TrainState } from "./state.js";
import { makeTrainable, type Trainable, type TrainablePolicy, type Trained } from "./trainable.js";
import { trainingData } from "./training-data.js";
import { type Need, needOf, usableProblems } from "./usable.js";

export interface ReplayOptions {
  readonly engine: TrainablePolicy;
  /** What the run began with: `makeTrained(engine, config)` of its config, unless it was given another one. */
  readonly adapter: Trained;
  /** Folder of the run. */
  readonly run: string;
  /** From 1. */
  readonly step: number;
  /** Where the run was not given those of its config. */
  readonly data?: Dataset | undefined;
  readonly rewards?: Readonly<Record<string, Reward>> | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ProgressListener | undefined;
}

const OPTION_NAMES = {
  engine: true,
  adapter: true,
  run: true,
  step: true,
  data: true,
  rewards: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof ReplayOptions, true>;

/** What was compared, and what of it differs, in words. */
export interface Comparison {
  readonly compared: number;
  readonly differences: readonly string[];
}

export interface Replay {
  readonly method: RunInfo["method"];
  /** Lines of completions/step-N.jsonl; of sft none. */
  readonly completions: Comparison;
  readonly metrics: Comparison;
  /** v, the optimiser's numbers, the gradient. */
  readonly state: Comparison;
  /** Nothing differs. */
  readonly same: boolean;
}

/** ERR_RUN where the run cannot be replayed here: it has no such step, or had another model, other hardware. */
export async function replayStep(options: ReplayOptions): Promise<Replay> {
  checkOptionNames("replayStep", options, OPTION_NAMES);
  const { engine, adapter, run, step } = options;
  const info = await readRunInfo(run);
  checkOwnRewards(run, info, options.rewards);
  const { before, after } = await statesAround(run, step);
  const trainable = makeTrainable(engine, adapter, info.config);
  checkSameRun(run, info, {
    method: info.method,
    fingerprint: trainable.fingerprint,
    parameters: trainable.parameters,
  });
  checkArithmetic(run, info, engine);
  const others = otherPrompts(info, engine);
  if (others) throw new TinyLoraError("ERR_RUN", `${run}: ${others}`);
  checkState(before.optimizer, info.config);
  const recorded = await recordedMetrics(run, step);
  const data = await trainingData(options, info.config, { signal: options.signal });
  checkSameProblems(run, info, fingerprintOf(data.train));
  const again = { ...info, config: atRecordedRate(info.config, recorded) };
  const makeAgain = await stepAgain(options, again, data, trainable);
  const own = claim(engine);
  let outcome: StepOutcome;
  try {
    const onProgress = (done: number, total: number) => options.onProgress?.({ phase: "SVD", done, total });
    await trainable.attach({ signal: options.signal, onProgress });
    own.fixAdapters();
    outcome = await makeAgain(before);
  } finally {
    own.release();
  }
  const completions = compareLines(await recordedCompletions(run, step), outcome.lines);
  const metrics = compareMetrics(recorded, outcome.metrics);
  const state = compareStates(after, outcome.state);
  const same = [completions, metrics, state].every(({ differences }) => differences.length === 0);
  return { method: info.method, completions, metrics, state, same };
}

/** The states that a step of a run began and ended with. ERR_RUN where the run does not have them. */
export async function statesAround(run: string, step: number): Promise<{ before: TrainState; after: TrainState }> {
  let [before, after, last]: (TrainState | undefined)[] = [];
  for await (const state of readHistory(run)) {
    if (state.step === step - 1) before = state;
    if (state.step === step) after = state;
    last = state;
  }
  if (before && after) return { before, after };
  if (Number.isInteger(step) && step >= 1 && step <= last!.step) {
    const [lost, when] = before ? [step, "after"] : [step - 1, "before"];
    const path = join(run, HISTORY_FILE);
    throw new TinyLoraError(
      "ERR_RUN",
      `${path}: expected the state ${when} step ${step}, but that line (step ${lost}) is lost`,
    );
  }
  throw new TinyLoraError("ERR_RUN", `${run}: step: expected 1 to ${last!.step}, found ${step}`);
}

/** What makes the step again from the state before it. Problems and rewards are there when it is called. */
async function stepAgain(
  options: ReplayOptions,
  { method, config }: RunInfo,
  data: Dataset,
  trainable: Trainable,
): Promise<(state: TrainState) => Promise<StepOutcome>> {
  const { engine: policy, signal, onProgress = () => {} } = options;
  const context = { policy, trainable, config, onProgress };
  const usable = async (need: Need) =>
    new Epochs(await usableProblems(policy, data.train, config, need, { signal }), config.seed);
  if (method === "sft") {
    const examples = await usable("solution");
    return (state) => sftStep({ ...context, examples }, state, signal);
  }
  const rewards = await namedRewards(options.rewards, config, signal);
  const examples = await usable(needOf(rewards));
  return (state) => grpoOutcome({ ...context, examples, rewards }, state, signal);
}

/** A schedule leads to max_steps, which may have been raised since the step: its rate is what the run wrote down. */
function atRecordedRate(config: TrainConfig, { learning_rate }: Readonly<Record<string, unknown>>): TrainConfig {
  if (typeof learning_rate !== "number") return config;
  return { ...config, learning_rate, lr_scheduler_type: "constant", warmup_steps: 0 };
}

function checkArithmetic(run: string, { arithmetic }: RunInfo, { device }: TrainablePolicy): void {
  const found = arithmeticOf(device);
  if (found === arithmetic) return;
  throw new TinyLoraError(
    "ERR_RUN",
    `${run}: expected the arithmetic of ${arithmetic}, found ${found}: its last bits are others`,
  );
}

async function recordedCompletions(run: string, step: number): Promise<string[]> {
  const path = completionsFile(run, step);
  const text = await readingIfThere(path, () => readFile(path, "utf8"), "");
  return text.split("\n").slice(0, -1);
}

async function recordedMetrics(run: string, step: number): Promise<Record<string, unknown>> {
  const path = join(run, METRICS_FILE);
  for await (const line of wholeLines(path)) {
    const metrics = parseLine(line);
    if (metrics.step === step) return metrics;
  }
  throw new TinyLoraError("ERR_RUN", `${path}: expected a line of step ${step}, found none`);
}

/** A line of a run's files; one that was damaged since holds nothing. */
function parseLine(line: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(line)) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function compareLines(recorded: readonly string[], found: readonly object[]): Comparison {
  const differences: string[] = [];
  if (recorded.length !== found.length) {
    differences.push(`expected ${recorded.length} completions, found ${found.length}`);
  }
  for (const [i, line] of found.entries()) {
    const expected = recorded[i];
    if (expected === undefined || expected === JSON.stringify(line)) continue;
    const keys = Object.entries(line).flatMap(([key, value]) => {
      const old = parseLine(expected)[key];
      return JSON.stringify(old) === JSON.stringify(value) ? [] : [key];
    });
    differences.push(`completion ${i + 1}: ${keys.join(", ")}`);
  }
  return { compared: found.length, differences };
}

/** Those of the step itself: an evaluation after it is not made again. */
function compareMetrics(recorded: Readonly<Record<string, unknown>>, metrics: Metrics): Comparison {
  const written = JSON.parse(JSON.stringify(metrics)) as Record<string, unknown>; // NaN is null there
  const differences = Object.entries(written).flatMap(([key, value]) =>
    recorded[key] === value ? [] : [`${key}: expected ${recorded[key]}, found ${value}`],
  );
  return { compared: Object.keys(written).length, differences };
}

function compareStates(recorded: TrainState, found: TrainState): Comparison {
  const of = (state: TrainState) => ({
    v: [...state.optimizer.master],
    optimiser: [state.optimizer.updates, ...state.optimizer.moments.flatMap((moment) => [...moment])],
    gradient: state.lastGradient && [...state.lastGradient],
    tokens: [state.tokens],
  });
  const [old, now] = [of(recorded), of(found)];
  const compared = Object.keys(old) as (keyof typeof old)[];
  const differences = compared.filter((key) => !sameBits(old[key], now[key]));
  return { compared: compared.length, differences };
}

function sameBits(a: readonly number[] | null, b: readonly number[] | null): boolean {
  if (a === null || b === null) return a === b;
  return a.length === b.length && a.every((value, i) => Object.is(value, b[i]));
}
