/**
 * A sweep's file:
 *   base     options that all members share, `method` (grpo, sft) among them, or the path of a file of options
 *   grid     what is tried: see grid.ts
 *   seeds    each combination is run with each of them
 *   best_of  keys of which every setting takes the best value, learning_rate when not given
 *   metric   what is compared: held-out accuracy, eval/lenient, when not given
 */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { adapterOptions } from "../config/adapter-options.js";
import { idleKeys, resolveConfig } from "../config/config.js";
import { readConfigFile } from "../config/config-file.js";
import { describeIssue } from "../config/describe-issue.js";
import { environmentOptions } from "../config/env.js";
import { fields } from "../config/fields.js";
import { checkMethod, METHODS, type Method, noEffect, unusedBy } from "../config/method.js";
import { nearest } from "../config/nearest.js";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";
import { show } from "../show.js";
import { expandGrid, type Settings } from "./grid.js";
import { type Member, makeMember, memberLabel } from "./member.js";

const METRICS = ["eval/lenient", "eval/strict", "eval/format"] as const;

const fileSchema = z.strictObject({
  base: z
    .union([z.string(), z.record(z.string(), z.unknown())], "expected keys and values, or the path of their file")
    .default({}),
  grid: z.unknown().default({}),
  seeds: z.array(z.int().min(0)).min(1).optional(),
  best_of: z.array(z.string()).default(["learning_rate"]),
  metric: z.enum(METRICS).default("eval/lenient"),
});

/** What a sweep's file may hold. */
export type SweepSpec = z.input<typeof fileSchema>;

export interface SweepPlan {
  readonly source: string;
  readonly metric: string;
  readonly bestOf: readonly string[];
  readonly members: readonly Member[];
}

/**
 * Reads a sweep and checks every member of it. `changes` come over its base. ERR_CONFIG names file and key, also of a
 * change that the grid covers.
 */
export async function planSweep(sweep: string | SweepSpec, changes: Settings = {}): Promise<SweepPlan> {
  const source = typeof sweep === "string" ? sweep : "sweep";
  const spec = parseSpec(typeof sweep === "string" ? await readConfigFile(sweep) : sweep, source);
  const base = { ...environmentOptions(), ...(await readBase(spec.base, source)), ...changes };
  checkKeys("best_of", spec.best_of, source);
  const grid = expandGrid(spec.grid, source);
  if (grid.some((settings) => "seed" in settings)) {
    throw new TinyLoraError("ERR_CONFIG", `${source}: grid: seed: expected the seeds in \`seeds\``);
  }
  const covered = Object.keys(changes).filter((key) => grid.every((settings) => key in settings));
  if (covered.length > 0) {
    const names = covered.join(", ");
    throw new TinyLoraError("ERR_CONFIG", `${source}: ${names}: no effect, since grid gives every member its own`);
  }
  const runs = grid.flatMap((settings) =>
    (spec.seeds ?? [undefined]).map((seed) => ({
      settings,
      options: { ...base, ...settings, ...(seed === undefined ? {} : { seed }) },
    })),
  );
  return { source, metric: spec.metric, bestOf: spec.best_of, members: checkedMembers(runs, base, source) };
}

function parseSpec(value: unknown, source: string): z.output<typeof fileSchema> {
  const result = fileSchema.safeParse(value);
  if (result.success && Object.keys(value as object).length === 0) {
    throw new TinyLoraError(
      "ERR_CONFIG",
      `${source}: expected ${Object.keys(fileSchema.shape).join(", ")}, found nothing`,
    );
  }
  if (result.success) return result.data;
  const messages = result.error.issues.map((issue) => {
    if (issue.code !== "unrecognized_keys") return describeIssue(issue, value as object);
    return issue.keys.map(unknownKey).join("; ");
  });
  throw new TinyLoraError("ERR_CONFIG", `${source}: ${messages.join("; ")}`);
}

const OPTIONS = ["method", ...fields.map(({ key }) => key)];

function unknownKey(key: string): string {
  if (OPTIONS.includes(key)) return `${key}: expected it in base or in grid`;
  return `unknown key ${key} (nearest: ${nearest(key, [...Object.keys(fileSchema.shape), ...OPTIONS])})`;
}

async function readBase(base: string | Settings, source: string): Promise<Settings> {
  return typeof base === "string" ? readConfigFile(resolve(dirname(source), base)) : base;
}

function checkKeys(what: string, given: readonly string[], source: string): void {
  const unknown = given.find((key) => !OPTIONS.includes(key));
  if (unknown === undefined) return;
  throw new TinyLoraError(
    "ERR_CONFIG",
    `${source}: ${what}: unknown key ${unknown} (nearest: ${nearest(unknown, OPTIONS)})`,
  );
}

interface Run {
  readonly settings: Settings;
  readonly options: Settings;
}

/** Each run once, or one error that tells every different fault with the first run that has it. */
function checkedMembers(runs: readonly Run[], base: Settings, source: string): Member[] {
  const methods = METHODS.filter((name) => runs.some(({ options }) => (options.method ?? "grpo") === name));
  // What is written for all members is for those that use it; there must be one.
  const idle = Object.keys(base).filter((key) => methods.every((method) => unusedBy(method, [key]).length > 0));
  const idleInAll = Object.keys(base).filter((key) => runs.every(({ options }) => idleKeys(options).includes(key)));
  const members = new Map<string, Member>();
  const faults = new Map<string, { first: string; count: number }>();
  for (const { settings, options } of runs) {
    const { method: name = "grpo", ...rest } = options as { method?: unknown };
    try {
      const left = idleKeys(rest).filter((key) => !(key in settings) && !idleInAll.includes(key));
      const config = checkedConfig(Object.fromEntries(Object.entries(rest).filter(([key]) => !left.includes(key))));
      const method = checkedMethod(name);
      const unused = unusedBy(method, [...new Set([...idle, ...Object.keys(settings)])]);
      if (unused.length > 0) throw new TinyLoraError("ERR_CONFIG", noEffect(unused, method));
      checkMethod(method, config);
      const member = makeMember(method, settings, config);
      if (!members.has(member.name)) members.set(member.name, member);
    } catch (error) {
      if (!(error instanceof TinyLoraError)) throw error;
      const fault = faults.get(error.message);
      const first = fault?.first ?? memberLabel(settings, Number(options.seed ?? defaults.seed));
      faults.set(error.message, { first, count: (fault?.count ?? 0) + 1 });
    }
  }
  if (faults.size === 0) return [...members.values()];
  const told = [...faults].map(([message, { first, count }]) => {
    return count === runs.length ? message : `${message} (in ${count} of ${runs.length} members, first in ${first})`;
  });
  throw new TinyLoraError("ERR_CONFIG", `${source}: ${told.join("; ")}`);
}

const defaults = resolveConfig({});

function checkedMethod(method: unknown): Method {
  const found = METHODS.find((name) => name === method);
  if (found) return found;
  throw new TinyLoraError("ERR_CONFIG", `method: expected one of ${METHODS.join(", ")}, found ${show(method)}`);
}

function checkedConfig(options: Settings): TrainConfig {
  const config = resolveConfig(options, "options");
  adapterOptions(config);
  if (config.eval_steps > 0) return config;
  throw new TinyLoraError(
    "ERR_CONFIG",
    "eval_steps: expected at least 1, since held-out accuracy is compared, found 0",
  );
}
