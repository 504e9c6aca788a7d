/** From a config file and flags to resolved options, or one message that names every wrong key. */
import { readFile } from "node:fs/promises";
import { extname } from "node:path";
import { parse, YAMLParseError } from "yaml";
import type { z } from "zod";
import { TinyLoraError } from "../error.js";
import { show } from "../show.js";
import { nearest } from "./nearest.js";
import { sections, type TrainConfig, type TrainOptions, trainSchema } from "./schema.js";

const keys = Object.values(sections).flatMap((section) => Object.keys(section));

/**
 * Options with defaults filled in. Throws ERR_CONFIG; `source` says in the message where they came from.
 *
 * @example resolveConfig({ data: "svamp", learning_rate: 1e-3 })
 */
export function resolveConfig(options: TrainOptions | Record<string, unknown>, source = "options"): TrainConfig {
  checkObject(options, source);
  const unknown = Object.keys(options).filter((key) => !keys.includes(key));
  if (unknown.length > 0) {
    const list = unknown.map((key) => `${key} (nearest: ${nearest(key, keys)})`).join(", ");
    throw new TinyLoraError("ERR_CONFIG", `${source}: unknown ${unknown.length > 1 ? "keys" : "key"} ${list}`);
  }
  const result = trainSchema.safeParse(options);
  if (result.success) return result.data;
  // What options say of one another means nothing while one of them is wrong by itself.
  const own = result.error.issues.filter(({ code }) => code !== "custom");
  // Of a number that is too large, zod can have two: as a whole number and by its limit.
  const told = own.length > 0 ? own : result.error.issues;
  const messages = new Set(told.map((issue) => describeIssue(issue, options)));
  throw new TinyLoraError("ERR_CONFIG", `${source}: ${[...messages].join("; ")}`);
}

/** The options in a YAML or JSON file, as written: not yet validated. */
export async function readConfigFile(path: string): Promise<Record<string, unknown>> {
  const kind = extname(path).toLowerCase();
  if (![".yaml", ".yml", ".json"].includes(kind)) {
    throw new TinyLoraError("ERR_CONFIG", `${path}: expected a .yaml, .yml or .json file`);
  }
  let text: string;
  try {
    text = (await readFile(path, "utf8")).replace(/^\uFEFF/, "");
  } catch (cause) {
    throw new TinyLoraError("ERR_FILE", `${path}: cannot be read (${(cause as NodeJS.ErrnoException).code})`, {
      cause,
    });
  }
  let value: unknown;
  try {
    value = kind === ".json" ? JSON.parse(text) : parse(text);
  } catch (cause) {
    const where = cause instanceof YAMLParseError ? `line ${cause.linePos?.[0].line}: ` : "";
    const reason = (cause as Error).message.split("\n")[0]?.replace(/ at line \d+, column \d+:?$/, "");
    throw new TinyLoraError("ERR_CONFIG", `${path}: ${where}${reason}`, { cause });
  }
  if (value === null || value === undefined) return {};
  checkObject(value, path);
  return value as Record<string, unknown>;
}

function checkObject(value: unknown, source: string): void {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return;
  throw new TinyLoraError("ERR_CONFIG", `${source}: expected keys and values, found ${show(value)}`);
}

function describeIssue(issue: z.core.$ZodIssue, options: object): string {
  const path = issue.path.map(String);
  const found = path.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], options);
  const suffix = found === undefined ? "" : `, found ${show(found)}`;
  return `${path.join(".")}: ${expectation(issue, found)}${suffix}`;
}

function expectation(issue: z.core.$ZodIssue, found: unknown): string {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${{ int: "a whole number", number: "a number", string: "a text", boolean: "true or false", array: "a list" }[issue.expected as string] ?? issue.expected}`;
    case "too_small": {
      if (Array.isArray(found)) return `expected at least ${issue.minimum} in the list`;
      if (typeof found === "string") return `expected at least ${issue.minimum} letter`;
      return `expected ${issue.inclusive ? "at least" : "more than"} ${issue.minimum}`;
    }
    case "too_big":
      return `expected ${issue.inclusive ? "at most" : "less than"} ${issue.maximum}`;
    case "invalid_value": {
      const values = issue.values.map(String);
      const hint = typeof found === "string" ? ` (nearest: ${nearest(found, values)})` : "";
      return `expected one of ${values.join(", ")}${hint}`;
    }
    default:
      return issue.message;
  }
}
