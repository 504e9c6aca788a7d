/** From a config file and flags to resolved options, or one message that names every wrong key. */
import { readFile, stat } from "node:fs/promises";
import { extname } from "node:path";
import { parseDocument, YAMLError } from "yaml";
import { TinyLoraError, whyNot } from "../error.js";
import { isObject } from "../is-object.js";
import { show } from "../show.js";
import { describeIssue } from "./describe-issue.js";
import { EMBEDDED, EMBEDDED_DEFAULTS } from "./embedded.js";
import { nearest } from "./nearest.js";
import { sections, type TrainConfig, type TrainOptions, trainSchema } from "./schema.js";

const keys = Object.values(sections).flatMap((section) => Object.keys(section));

/**
 * Options with defaults filled in, those of the embedded model where it is named. Throws ERR_CONFIG; `source` says in the message where they came from.
 *
 * @example resolveConfig({ data: "svamp", learning_rate: 1e-3 })
 */
export function resolveConfig(options: TrainOptions | Record<string, unknown>, source = "options"): TrainConfig {
  checkObject(options, source);
  const unknown = Object.keys(options).filter((key) => !keys.includes(key));
  if (unknown.length > 0) {
    const told = unknown
      .slice(0, TOLD)
      .map((key) => `${show(key).replace(/^"|"$/g, "")} (nearest: ${nearest(key, keys)})`);
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

/** Unknown keys that a message names. */
const TOLD = 20;
/** Bytes of a config file, and lists and mappings that it may begin. */
const [LARGEST, MOST_BEGUN] = [2 ** 20, 1000];

/** The options in a YAML or JSON file, as written: not yet validated. */
export async function readConfigFile(path: string): Promise<Record<string, unknown>> {
  const kind = extname(path).toLowerCase();
  if (![".yaml", ".yml", ".json"].includes(kind)) {
    throw new TinyLoraError("ERR_CONFIG", `${path}: expected a .yaml, .yml or .json file`);
  }
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > LARGEST) {
      throw new TinyLoraError("ERR_CONFIG", `${path}: expected at most ${LARGEST} bytes, found ${size}`);
    }
    text = (await readFile(path, "utf8")).replace(/^\uFEFF/, "");
  } catch (cause) {
    if (cause instanceof TinyLoraError) throw cause;
    throw new TinyLoraError("ERR_FILE", `${path}: cannot be read (${whyNot(cause)})`, { cause });
  }
  if (kind !== ".json") checkNesting(path, text);
  let value: unknown;
  try {
    value = kind === ".json" ? JSON.parse(text) : parseYaml(text);
  } catch (cause) {
    const where = cause instanceof YAMLError ? `line ${cause.linePos?.[0].line}: ` : "";
    const reason = (cause as Error).message.split("\n")[0]?.replace(/ at line \d+, column \d+:?$/, "");
    throw new TinyLoraError("ERR_CONFIG", `${path}: ${where}${reason}`, { cause });
  }
  if (value === null || value === undefined) return {};
  checkObject(value, path);
  return value;
}

/** What the parser only warns of, such as a tag that it does not know, is an error. */
function parseYaml(text: string): unknown {
  // Without a warning of keys that are lists: nobody who reads a config knows such a key.
  const document = parseDocument(text, { logLevel: "error" });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem) throw problem;
  return document.toJS();
}

/** The parser of YAML takes a piece of stack for each list in a list, and ends the process where there is none left. */
function checkNesting(path: string, text: string): void {
  const begun = text.match(/[[{]/g)?.length ?? 0;
  if (begun <= MOST_BEGUN && !/^[ \t]*(?:[-?:][ \t]+){100}/m.test(text)) return;
  throw new TinyLoraError(
    "ERR_CONFIG",
    `${path}: expected at most ${MOST_BEGUN} lists and mappings, and 100 in one another, found more`,
  );
}

function checkObject(value: unknown, source: string): asserts value is Record<string, unknown> {
  if (isObject(value)) return;
  throw new TinyLoraError("ERR_CONFIG", `${source}: expected keys and values, found ${show(value)}`);
}
