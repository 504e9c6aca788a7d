/**
 * The folder of a sweep:
 *   members/        a run folder each
 *   results.json    members, and for each setting the best of its rates; results.md the same as tables
 *   lock            while a process writes to it
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { findModel } from "../find-model.js";
import { loadReward } from "../reward/rewards.js";
import { lockFolder } from "../run/lock.js";
import type { StepReport } from "../train/run.js";
import type { Settings } from "./grid.js";
import { KeptEngine } from "./kept-engine.js";
import type { Member } from "./member.js";
import { collectResults } from "./results.js";
import { type SweepResults, writeResults } from "./results-file.js";
import { isFinished, runMember } from "./run-member.js";
import { planSweep, type SweepPlan, type SweepSpec } from "./sweep-file.js";

export interface SweepOptions {
  /** The file, or what it would hold. */
  readonly sweep: string | SweepSpec;
  readonly folder: string;
  /** Options that come over the sweep's base. */
  readonly changes?: Settings;
  /** Stops within the running step; the same call goes on from the last finished one. */
  readonly signal?: AbortSignal;
  readonly onMember?: (report: MemberReport) => void;
  readonly onStep?: (member: Member, report: StepReport) => void;
  readonly onWarning?: (message: string) => void;
}

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
 * Runs the members of a sweep one after another. Finished ones are skipped and interrupted ones go on, so that the same
 * call resumes a sweep, also after members were added. One that fails is reported; the others run.
 *
 * @example await runSweep({ sweep: "sweep.yaml", folder: "runs/sweep", onMember: ({ member, event }) => console.log(member.name, event) })
 */
export async function runSweep(options: SweepOptions): Promise<SweepOutcome> {
  const plan = await planSweep(options.sweep, options.changes);
  await checkSources(plan);
  await mkdir(options.folder, { recursive: true });
  const unlock = await lockFolder(options.folder);
  const engines = new KeptEngine();
  try {
    return await runMembers(plan, options, engines);
  } finally {
    engines.drop();
    await unlock();
  }
}

/** Models and rewards that are not there are told before anything runs. */
async function checkSources({ members }: SweepPlan): Promise<void> {
  for (const model of new Set(members.map(({ config }) => config.model))) findModel(model);
  const graded = members.filter(({ method }) => method === "grpo");
  for (const reward of new Set(graded.flatMap(({ config }) => config.rewards))) await loadReward(reward);
}

async function runMembers(plan: SweepPlan, options: SweepOptions, engines: KeptEngine): Promise<SweepOutcome> {
  const { folder, signal, onMember, onStep, onWarning = () => {} } = options;
  const failures = new Map<string, Error>();
  const save = async () => {
    const results = await collectResults(plan, folder, failures);
    await writeResults(folder, results);
    return results;
  };
  for (const [i, member] of plan.members.entries()) {
    const tell = (event: MemberReport["event"], error?: Error) =>
      onMember?.({ member, event, place: i + 1, members: plan.members.length, ...(error ? { error } : {}) });
    const run = memberFolder(folder, member);
    if (await isFinished(run, member)) {
      tell("skipped");
      continue;
    }
    try {
      signal?.throwIfAborted();
      tell("starts");
      const stopped = await runMember(member, run, engines, {
        ...(signal ? { signal } : {}),
        onStep: (report) => onStep?.(member, report),
        onWarning: (message) => onWarning(`${member.name}: ${message}`),
      });
      if (stopped === "finished") tell("finished");
    } catch (error) {
      if (!signal?.aborted) {
        failures.set(member.name, error as Error);
        tell("failed", error as Error);
      }
    }
    if (signal?.aborted) {
      if (!(await isFinished(run, member))) tell("interrupted");
      break;
    }
    await save();
  }
  return { stopped: signal?.aborted ? "aborted" : "finished", results: await save() };
}

function memberFolder(folder: string, { name }: Member): string {
  return join(folder, "members", name);
}
