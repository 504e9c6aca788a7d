/** From options as they were written to resolved ones, or one message that names every wrong key. */
import { TinyLoraError } from "../error.js";
import { isObject } from "../is-object.js";
import { show } from "../show.js";
import { describeIssue } from "./describe-issue.js";
import { EMBEDDED, EMBEDDED_DEFAULTS } from "./embedded.js";
import { idleOptions } from "./idle.js";
import { nearest } from "./nearest.js";
import { sections, type TrainConfig, type TrainOptions, trainSchema } from "./schema.js";
import { inPlaceOf } from "./trl-names.js";

const keys = Object.values(sections).flatMap((section) => Object.keys(section));

/**
 * Options with defaults filled in, those of the embedded model where it is named. Throws ERR_CONFIG; `source` says in
 * the message where they came from.
 *
 * @example resolveConfig({ data: "svamp", learning_rate: 1e-3 })
 */
export function resolveConfig(options: TrainOptions | Record<string, unknown>, source = "options"): TrainConfig {
  checkObject(options, source);
  const unknown = Object.keys(options).filter((key) => !keys.includes(key));
  if (unknown.length > 0) {
    const told = unknown.slice(0, TOLD).map((key) => {
      const meant = inPlaceOf(key) ?? `nearest: ${nearest(key, keys)}`;
      return `${show(key).replace(/^"|"$/g, "")} (${meant})`;
    });
    const list = [...told, ...(unknown.length > TOLD ? [`${unknown.length - TOLD} more`] : [])].join(", ");
    const hint = unknown.includes("grid") ? "; a file with a grid is one for sweep" : "";
    throw new TinyLoraError("ERR_CONFIG", `${source}: unknown ${unknown.length > 1 ? "keys" : "key"} ${list}${hint}`);
  }
  const result = trainSchema.safeParse(options.model === EMBEDDED ? withDefaults(options, EMBEDDED_DEFAULTS) : options);
  if (result.success) return result.data;
  // What options say of one another means nothing while one of them is wrong by itself.
  const own = result.error.issues.filter(({ code }) => code !== "custom");
  // Of a number that is too large, zod can have two: as a whole number and by its limit.
  const told = own.length > 0 ? own : result.error.issues;
  const messages = new Set(told.map((issue) => describeIssue(issue, options)));
  throw new TinyLoraError("ERR_CONFIG", `${source}: ${[...messages].join("; ")}`);
}

function withDefaults(options: object, defaults: TrainOptions): TrainOptions {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) };
}

const defaults = trainSchema.parse({});

/** The keys that options change to no effect, or would without those; the options need not have been checked. */
export function idleKeys(options: Readonly<Record<string, unknown>>): string[] {
  const found: string[] = idleOptions({ ...defaults, ...options }, defaults).map(([key]) => key);
  if (found.length === 0) return [];
  return [...found, ...idleKeys(Object.fromEntries(Object.entries(options).filter(([key]) => !found.includes(key))))];
}

/** Unknown keys that a message names. */
const TOLD = 20;

export function checkObject(value: unknown, source: string): asserts value is Record<string, unknown> {
  if (isObject(value)) return;
  throw new TinyLoraError("ERR_CONFIG", `${source}: expected keys and values, found ${show(value)}`);
}
