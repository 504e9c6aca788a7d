/** From the run folders of a sweep to its results: what is in the folders counts, not what this process saw. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { bytesOf } from "../adapter/vector-dtype.js";
import { adapterOptions } from "../config/adapter-options.js";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { readMetrics } from "../run/metrics-file.js";
import { readRunInfo } from "../run/run-info.js";
import type { Settings } from "./grid.js";
import type { Member } from "./member.js";
import { FORMAT, type MemberResult, type SweepResults } from "./results-file.js";
import { isFinished } from "./run-member.js";
import { bestOfEach } from "./select.js";
import type { SweepPlan } from "./sweep-file.js";

/** Told of every member, whether the grid varies them or not: tables and plots need them. */
const ALWAYS = ["adapter", "r", "u", "tying", "n_tie", "v_dtype", "learning_rate"];

/** `finished`: those that were read before, by name, which nothing changes any more; what is finished now is added. */
export async function collectResults(
  plan: SweepPlan,
  folder: string,
  failures: ReadonlyMap<string, Error>,
  finished: Map<string, MemberResult>,
): Promise<SweepResults> {
  const varied = [...new Set(plan.members.flatMap(({ settings }) => Object.keys(settings)))];
  const members: MemberResult[] = [];
  for (const member of plan.members) {
    const run = join(folder, "members", member.name);
    const failure = failures.get(member.name);
    const read = () =>
      memberResult(member, run, plan.metric, varied, failure).catch((error) => {
        if (error instanceof TinyLoraError) return unreadable(member, varied, failure ?? error);
        throw error;
      });
    const result = finished.get(member.name) ?? (await read());
    if (result.status === "finished") finished.set(member.name, result);
    members.push(result);
  }
  const groups = plan.members.map(({ method, config }) => settingKey(method, config, plan.bestOf));
  return {
    format: FORMAT,
    source: plan.source,
    metric: plan.metric,
    best_of: [...plan.bestOf],
    varied,
    settings: bestOfEach(members, groups, plan.bestOf),
    members,
  };
}

async function memberResult(
  member: Member,
  run: string,
  metric: string,
  varied: readonly string[],
  failure: Error | undefined,
): Promise<MemberResult> {
  const started = existsSync(join(run, "config.json"));
  const lines = started ? await readMetrics(run) : [];
  const parameters = started ? (await readRunInfo(run)).parameters : null;
  const finished = started && (await isFinished(run, member));
  const last = lines.at(-1);
  return {
    name: member.name,
    method: member.method,
    settings: facts(member, varied),
    seed: member.config.seed,
    status: finished ? "finished" : failure ? "failed" : started ? "interrupted" : "waiting",
    step: last?.step ?? 0,
    parameters,
    bytes: parameters === null ? null : parameters * bytesOfNumber(member.config),
    base: (lines[0]?.step === 0 ? lines[0][metric] : undefined) ?? null,
    accuracy: (finished ? last?.[metric] : undefined) ?? null,
    ...(failure && !finished ? { error: failure.message } : {}),
  };
}

/** One whose run folder is there and does not open. */
function unreadable(member: Member, varied: readonly string[], error: Error): MemberResult {
  const { name, method, config } = member;
  const unknown = { parameters: null, bytes: null, base: null, accuracy: null };
  const known = { name, method, settings: facts(member, varied), seed: config.seed, step: 0 };
  return { ...known, ...unknown, status: "failed", error: error.message };
}

/** Options as they were used: what was left to a default is told. */
function facts({ method, config }: Member, varied: readonly string[]): Settings {
  const adapter = adapterOptions(config);
  const used: Record<string, unknown> = {
    ...config,
    method,
    r: adapter ? adapter.r : null,
    u: adapter && config.adapter !== "lora" ? adapter.u : null,
    tying: adapter && config.adapter !== "lora" ? adapter.tying.kind : null,
  };
  return Object.fromEntries([...new Set([...ALWAYS, ...varied])].map((key) => [key, used[key] ?? null]));
}

/** Members with equal keys differ in seed and in what the best is taken of. */
function settingKey(method: string, config: TrainConfig, bestOf: readonly string[]): string {
  const apart = Object.entries({ ...config, method }).filter(([key]) => key !== "seed" && !bestOf.includes(key));
  return JSON.stringify(apart);
}

function bytesOfNumber({ adapter, dtype, v_dtype }: TrainConfig): number {
  return bytesOf(adapter === "full" ? dtype : v_dtype);
}
