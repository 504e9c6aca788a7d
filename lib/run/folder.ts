/**
 * The folder of a run:
 *   config.json          the method, the resolved options, the base model, what computed it, versions
 *   metrics.jsonl        one line a step; `measured` holds what differs from run to run: seconds, rates, memory
 *   states.jsonl         v and the optimiser's state after every step: see history.ts
 *   completions/         step-N.jsonl: what was sampled in a step, with rewards
 *   checkpoints/         step-N: see checkpoint.ts
 *   adapter/             the newest adapter, or model/ where the model's own weights are trained
 *   lock                 while a process writes to it
 */
import { existsSync } from "node:fs";
import { appendFile, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { makeFolder, readingIfThere, removeTemporaries, syncPath, writeFileAtomic, writing } from "../files.js";
import type { TrainState } from "../train/state.js";
import type { OnSaved, Trainable } from "../train/trainable.js";
import {
  checkpointSteps,
  keepNewest,
  latestCheckpoint,
  removeCheckpointsAfter,
  removeParts,
  writeCheckpoint,
} from "./checkpoint.js";
import { HISTORY_FILE, historyLine, stepOfState } from "./history.js";
import { wholeLines, writeLines } from "./lines.js";
import { lockFolder } from "./lock.js";
import { METRICS_FILE } from "./metrics-file.js";
import { type RunInfo, readRunInfo, readRunInfoIfThere, writeRunInfo } from "./run-info.js";

/** Options that may differ from then on where a run goes on: how far, and what changes no bit. */
export const CHANGEABLE = ["max_steps", "gradient_checkpointing", "keep_activations"] as const;
/** Options that belong to the machine that a run goes on with, and what it finds there. */
const OF_MACHINE = ["model", "device", "threads", "max_sequences", "cache_tokens"] as const;
/** Both. */
export const RESUMABLE: readonly string[] = [...OF_MACHINE, ...CHANGEABLE];
export type RunChanges = Partial<Pick<TrainConfig, (typeof CHANGEABLE)[number]>>;

/** What a run trains, as far as files go. */
type Kept = Pick<Trainable, "save" | "load" | "publish">;

export class RunFolder {
  readonly path: string;
  readonly info: RunInfo;
  #unlock: () => Promise<void>;

  private constructor(path: string, info: RunInfo, unlock: () => Promise<void>) {
    this.path = path;
    this.info = info;
    this.#unlock = unlock;
  }

  /** A new run. Refuses a folder that already holds one. */
  static async create(path: string, info: RunInfo): Promise<RunFolder> {
    const unlock = await writing(path, async () => {
      await makeFolder(path);
      return lockFolder(path);
    });
    try {
      await checkNoRun(path);
      const run = new RunFolder(path, info, unlock);
      await writeRunInfo(path, run.info);
      return run;
    } catch (error) {
      await unlock();
      throw error;
    }
  }

  /** A run to go on with. */
  static async open(path: string, changes: RunChanges = {}): Promise<RunFolder> {
    const info = await readRunInfo(path);
    await checkStepsMade(path, { ...info.config, ...changes });
    const unlock = await writing(path, () => lockFolder(path));
    try {
      const run = new RunFolder(path, { ...info, config: { ...info.config, ...changes } }, unlock);
      if (Object.keys(changes).length > 0) await writeRunInfo(path, run.info);
      return run;
    } catch (error) {
      await unlock();
      throw error;
    }
  }

  /** Removes what killed processes have left in the folder of a run that has ended. */
  static async clear(path: string): Promise<void> {
    const run = await RunFolder.open(path);
    await run.#clear().finally(() => run.close());
  }

  /**
   * The state of the newest whole checkpoint, and nothing later left in the folder: lines and files of steps after it
   * are taken away, since the same steps will be made again. null when there is no checkpoint.
   */
  async restore(warn: (message: string) => void, kept: Kept): Promise<TrainState | null> {
    const checkpoints = checkpointsOf(this.path);
    const load = (found: TrainState, folder: string) => kept.load(found.optimizer, folder);
    const state = await latestCheckpoint(checkpoints, warn, load);
    const step = state?.step ?? -1;
    if (state === null && (await checkpointSteps(checkpoints)).length > 0) {
      warn(`${this.path}: none of its checkpoints is whole: it begins again`);
    }
    await removeCheckpointsAfter(checkpoints, step);
    await this.#clear();
    await truncateSteps(join(this.path, METRICS_FILE), step, stepOf);
    const last = await truncateSteps(join(this.path, HISTORY_FILE), step, stepOfState);
    if (state !== null && last < step) await this.appendState(state); // its line was damaged or lost
    const completions = join(this.path, COMPLETIONS);
    for (const name of await readingIfThere(completions, () => readdir(completions), [])) {
      const found = /^step-(\d+)\.jsonl$/.exec(name);
      const path = join(completions, name);
      if (found && Number(found[1]) > step) await writing(path, () => rm(path));
    }
    return state;
  }

  async appendMetrics(line: Readonly<Record<string, unknown>>): Promise<void> {
    const path = await this.#append(METRICS_FILE, `${JSON.stringify(line)}\n`);
    await writing(path, () => syncPath(path));
  }

  /** Beside metrics, for `replay`; nothing where the state is not kept here or too large. */
  async appendState(state: TrainState): Promise<void> {
    const line = historyLine(state);
    if (line !== null) await this.#append(HISTORY_FILE, line);
  }

  async writeCompletions(step: number, lines: readonly object[]): Promise<void> {
    await writeLines(completionsFile(this.path, step), lines);
  }

  async saveCheckpoint(state: TrainState, kept: Kept, onSaved?: OnSaved): Promise<void> {
    const { save_total_limit } = this.info.config;
    const save = (folder: string) => kept.save(state.optimizer, folder, onSaved);
    // The checkpoint last: a run whose last step has one is finished, and nobody would write what it lacks.
    await kept.publish(state.optimizer, this.path, onSaved);
    await writing(this.path, () => this.#syncStates());
    await writeCheckpoint(checkpointsOf(this.path), state, save_total_limit, save);
  }

  /** Lets others write to the folder. */
  async close(): Promise<void> {
    await this.#unlock();
  }

  /** Removes what killed processes have left. */
  async #clear(): Promise<void> {
    const checkpoints = checkpointsOf(this.path);
    await removeParts(checkpoints);
    await keepNewest(checkpoints, this.info.config.save_total_limit);
    for (const name of ["", "adapter", "model", COMPLETIONS]) await removeTemporaries(join(this.path, name));
  }

  async #append(name: string, line: string): Promise<string> {
    const path = join(this.path, name);
    await writing(path, () => appendFile(path, line));
    return path;
  }

  /** A checkpoint presupposes the states before it: after this they survive a power loss, as do the names of all files. */
  async #syncStates(): Promise<void> {
    const states = join(this.path, HISTORY_FILE);
    if (existsSync(states)) await syncPath(states);
    await syncPath(this.path);
  }
}

const COMPLETIONS = "completions";

/** What was sampled in a step of a run. */
export function completionsFile(run: string, step: number): string {
  return join(run, COMPLETIONS, `step-${step}.jsonl`);
}

function checkpointsOf(run: string): string {
  return join(run, "checkpoints");
}

/** The steps of a run that are in a checkpoint, which is written after all else that a step leaves. */
export async function stepsMade(run: string): Promise<number> {
  const [newest = 0] = await checkpointSteps(checkpointsOf(run));
  return newest;
}

/** Throws ERR_RUN where a run has made more steps than it is to make. */
export async function checkStepsMade(path: string, { max_steps }: Pick<TrainConfig, "max_steps">): Promise<void> {
  const made = await stepsMade(path);
  if (made <= max_steps) return;
  throw new TinyLoraError(
    "ERR_RUN",
    `${path}: max_steps: expected at least ${made}, the steps made, found ${max_steps}`,
  );
}

/** Throws ERR_RUN where the folder holds a run, or a config.json of something else. */
export async function checkNoRun(path: string): Promise<void> {
  if ((await readRunInfoIfThere(path)) === null) return;
  // A run that ended before its first checkpoint has left nothing to go on from.
  if ((await checkpointSteps(checkpointsOf(path))).length === 0) return;
  throw new TinyLoraError("ERR_RUN", `${path}: holds a run already; resume it, or choose another folder`);
}

/** Leaves whole lines of steps up to `step`, of a file that is there. Returns the last one's step, -1 where none is left. */
async function truncateSteps(path: string, step: number, stepOf: (line: string) => number): Promise<number> {
  const size = await readingIfThere(path, async () => (await stat(path)).size, 0);
  let [good, last] = [0, -1];
  for await (const line of wholeLines(path)) {
    const found = stepOf(line);
    if (found > step) break;
    good += Buffer.byteLength(line) + 1;
    last = found;
  }
  if (good === size) return last;
  await writeFileAtomic(path, async (file) => {
    for await (const line of wholeLines(path)) {
      const found = stepOf(line);
      if (found > step) continue;
      await file.writeFile(`${line}\n`);
      last = found;
    }
  });
  return last;
}

function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line) as { step?: unknown };
    return typeof step === "number" ? step : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
