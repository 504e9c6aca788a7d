/**
 * The folder of a sweep:
 *   members/        a run folder each
 *   results.json    members, and for each setting the best of its rates; results.md the same as tables
 *   lock            while a process writes to it
 */
import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import { makeFolder, removeTemporaries, writing } from "../files.js";
import { groupBy } from "../group-by.js";
import { follower } from "../native/on-abort.js";
import { checkOptionNames } from "../option-names.js";
import { checkNoRun, RunFolder } from "../run/folder.js";
import { lockFolder } from "../run/lock.js";
import type { Progress } from "../train/progress.js";
import type { StepReport } from "../train/run.js";
import type { Settings } from "./grid.js";
import { engineKey, KeptEngine } from "./kept-engine.js";
import type { Member } from "./member.js";
import { collectResults } from "./results.js";
import { type MemberResult, type SweepResults, writeResults } from "./results-file.js";
import { isFinished, membersOf, type RunMember } from "./run-member.js";
import { sideBySide } from "./side-by-side.js";
import { checkSources } from "./sources.js";
import { planSweep, type SweepPlan, type SweepSpec } from "./sweep-file.js";

export interface SweepOptions {
  /** The file, or what it would hold. */
  readonly sweep: string | SweepSpec;
  readonly folder: string;
  /** Options that come over the sweep's base. */
  readonly changes?: Settings | undefined;
  /** Members that are trained side by side at most, DEFAULT_POPULATION when not given; 1: one after another. */
  readonly population?: number | undefined;
  /** Stops within the running steps; the same call goes on from the last finished one. */
  readonly signal?: AbortSignal | undefined;
  /** All that is to run, when it was checked and before anything runs. As `onMember`, where it throws. */
  readonly onPlan?: ((plan: SweepPlan) => void) | undefined;
  /** What it throws stops all members, as the signal does, and is what the call rejects with. */
  readonly onMember?: ((report: MemberReport) => void) | undefined;
  /** Before the first of `members` that are trained `atOnce` at a time. As `onMember`, where it throws. */
  readonly onPopulation?: ((members: readonly Member[], atOnce: number) => void) | undefined;
  /** What it throws fails the member. */
  readonly onStep?: ((member: Member, report: StepReport) => void) | undefined;
  /**
   * Within what comes before its first step, and within steps. As `onStep`, where it throws; within the loading of a model
   * all members fail that it is loaded for.
   */
  readonly onProgress?: ((member: Member, progress: Progress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

const OPTION_NAMES = {
  sweep: true,
  folder: true,
  changes: true,
  population: true,
  signal: true,
  onPlan: true,
  onMember: true,
  onPopulation: true,
  onStep: true,
  onProgress: true,
  onWarning: true,
} satisfies Record<keyof SweepOptions, true>;

/** Enough to fill the engine's batch with small steps (4 prompts x 4 completions). */
export const DEFAULT_POPULATION = 16;

export interface MemberReport {
  readonly member: Member;
  readonly event: "starts" | "skipped" | "finished" | "failed" | "interrupted";
  /** From 1. */
  readonly place: number;
  readonly members: number;
  readonly error?: Error;
}

export interface SweepOutcome {
  readonly stopped: "finished" | "aborted";
  readonly results: SweepResults;
}

/**
 * Runs the members of a sweep, side by side where they allow it and one after another elsewhere. Finished ones are
 * skipped and interrupted ones go on, so that the same call resumes a sweep, also after members were added. One that
 * fails is reported; the others run.
 *
 * @example await runSweep({ sweep: "sweep.yaml", folder: "runs/sweep", onMember: ({ member, event }) => console.log(member.name, event) })
 */
export async function runSweep(options: SweepOptions): Promise<SweepOutcome> {
  checkOptionNames("runSweep", options, OPTION_NAMES);
  const { population = DEFAULT_POPULATION } = options;
  if (!Number.isSafeInteger(population) || population < 1) {
    throw new TinyLoraError("ERR_ARGUMENT", `population: expected a whole number from 1, found ${population}`);
  }
  const plan = await planSweep(options.sweep, options.changes);
  await checkSources(plan, options.signal);
  await checkNoRun(options.folder);
  const unlock = await writing(options.folder, async () => {
    await makeFolder(options.folder);
    return lockFolder(options.folder);
  });
  const running = new RunningSweep(plan, options);
  try {
    options.onPlan?.(plan);
    await removeTemporaries(options.folder);
    return await running.run();
  } finally {
    running.end();
    await unlock();
  }
}

class RunningSweep {
  readonly #plan: SweepPlan;
  readonly #options: SweepOptions;
  readonly #engines = new KeptEngine();
  readonly #failures = new Map<string, Error>();
  /** Of members, by name. */
  readonly #finished = new Map<string, MemberResult>();
  /** Aborted at the caller's signal, and where something else than a member fails. */
  readonly #stop: AbortController;
  #broken: { readonly error: unknown } | undefined;
  #saved: Promise<unknown> = Promise.resolve();

  constructor(plan: SweepPlan, options: SweepOptions) {
    this.#plan = plan;
    this.#options = options;
    this.#stop = follower(options.signal);
  }

  async run(): Promise<SweepOutcome> {
    const { population = DEFAULT_POPULATION } = this.#options;
    const { signal } = this.#stop;
    const open: Member[] = [];
    for (const member of this.#plan.members) {
      if (await this.#isFinished(member)) {
        await RunFolder.clear(this.#folder(member)).catch(passOwn); // its process may have been killed as it ended
        this.#tell(member, "skipped");
      } else open.push(member);
    }
    const groups = population === 1 ? open.map((member) => [member]) : sideBySide(open);
    // Those that need the same engine one after another, so that a model is loaded once.
    for (const group of groupBy(groups, ([first]) => engineKey(first!.config)).flat()) {
      if (signal.aborted) break;
      await this.#runGroup(group, Math.min(population, group.length));
    }
    return { stopped: signal.aborted ? "aborted" : "finished", results: await this.#save() };
  }

  end(): void {
    this.#engines.drop();
    this.#stop.abort(); // it is over: nothing listens to the caller's signal any more
  }

  /** At most `atOnce` at a time; the next one starts when one ends. */
  async #runGroup(group: readonly Member[], atOnce: number): Promise<void> {
    const { onPopulation, onProgress } = this.#options;
    const { signal } = this.#stop;
    if (group.length > 1) onPopulation?.(group, atOnce);
    const failed = this.#failures.size;
    // Made once, when the first member starts; where that fails, it does for all.
    let runs: Promise<RunMember[]> | undefined;
    const next = group.entries();
    const lane = async () => {
      for (const [slot, member] of next) {
        if (signal.aborted) return;
        await this.#runMember(member, async () => {
          const onLoading = (done: number, total: number) => onProgress?.(member, { phase: "loading", done, total });
          runs ??= membersOf(group, this.#engines, onLoading, signal);
          return (await runs)[slot]!;
        });
      }
    };
    // The engine and the folder are theirs until the last of them has ended.
    await Promise.all(Array.from({ length: atOnce }, () => lane().catch((error) => this.#break(error))));
    if (this.#broken) throw this.#broken.error;
    // What failed may have left anything behind; weights that were trained are not the model's any more.
    const { adapter } = group[0]!.config;
    if (this.#failures.size > failed || adapter === "full" || adapter === "lora") this.#engines.drop();
  }

  #break(error: unknown): void {
    this.#broken ??= { error };
    this.#stop.abort(error);
  }

  async #runMember(member: Member, make: () => Promise<RunMember>): Promise<void> {
    const { onStep, onProgress, onWarning = () => {} } = this.#options;
    const { signal } = this.#stop;
    const folder = this.#folder(member);
    this.#tell(member, "starts");
    let stopped: "finished" | "aborted" | undefined;
    let failure: Error | undefined;
    try {
      const run = await make();
      stopped = await run(folder, {
        signal,
        onStep: (report) => onStep?.(member, report),
        onProgress: (progress) => onProgress?.(member, progress),
        onWarning: (message) => onWarning(`${member.name}: ${message}`),
      });
    } catch (error) {
      if (!signal.aborted) failure = error as Error;
    }
    if (stopped === "finished") this.#tell(member, "finished");
    if (failure) {
      this.#failures.set(member.name, failure);
      this.#tell(member, "failed", failure);
    }
    if (signal.aborted && !(await this.#isFinished(member))) this.#tell(member, "interrupted");
    await this.#save();
  }

  /** One whose folder cannot be read is not: it runs, and fails by itself. */
  async #isFinished(member: Member): Promise<boolean> {
    return (await isFinished(this.#folder(member), member).catch(passOwn)) ?? false;
  }

  /** One after another: members end at any time. */
  #save(): Promise<SweepResults> {
    const saved = this.#saved.then(async () => {
      const results = await collectResults(this.#plan, this.#options.folder, this.#failures, this.#finished);
      await writeResults(this.#options.folder, results);
      return results;
    });
    this.#saved = saved.catch(() => {});
    return saved;
  }

  #tell(member: Member, event: MemberReport["event"], error?: Error): void {
    const { members } = this.#plan;
    const place = members.indexOf(member) + 1;
    this.#options.onMember?.({ member, event, place, members: members.length, ...(error ? { error } : {}) });
  }

  #folder({ name }: Member): string {
    return join(this.#options.folder, "members", name);
  }
}

/** Nothing of errors that say what is wrong with a folder: its member goes on, or is told of, without it. */
function passOwn(error: unknown): undefined {
  if (!(error instanceof TinyLoraError)) throw error;
}
