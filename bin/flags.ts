import { type Command, Option } from "commander";
import { environmentOptions } from "../lib/config/env.js";
import { type Field, fields, parseFlag } from "../lib/config/fields.js";
import { fieldsOf, noEffect, unusedBy } from "../lib/config/method.js";
import { inPlaceOf } from "../lib/config/trl-names.js";
import { type Method, resolveConfig, TinyLoraError, type TrainConfig } from "../lib/index.js";

const added = new WeakMap<Command, readonly Field[]>();

/** Adds flags for these keys of the config schema, under its headings; `meanings`: what some are for this command. */
export function addFields(
  command: Command,
  keys: readonly string[],
  meanings: Readonly<Record<string, string>> = {},
): void {
  const chosen = fields
    .filter(({ key }) => keys.includes(key))
    .map((field) => ({ ...field, description: meanings[field.key] ?? field.description }));
  for (const field of chosen) command.addOption(optionOf(field));
  added.set(command, chosen);
}

/** Adds flags for all that a method uses. The others are known too, to be refused by name: `checkUsed`. */
export function addMethodFields(command: Command, method: Method): void {
  const used = fieldsOf(method);
  for (const field of used) command.addOption(optionOf(field));
  const shown = new Set(used.map(({ key }) => key));
  for (const field of fields.filter(({ key }) => !shown.has(key))) command.addOption(optionOf(field).hideHelp());
  added.set(command, fields);
}

/** Throws ERR_USAGE where flags were given that have no effect with the method. */
export function checkUsed(method: Method, given: Readonly<Record<string, unknown>>): void {
  const unused = unusedBy(method, Object.keys(given));
  const flags = fields.filter(({ key }) => unused.includes(key)).map(({ flag }) => flag);
  if (flags.length > 0) throw new TinyLoraError("ERR_USAGE", noEffect(flags, method));
}

/** Flags that decide between tokens by chance. */
const CHANCE = ["top_p", "top_k", "min_p", "seed"];

/** Throws ERR_USAGE where such flags were given and the likeliest token is taken. */
export function checkSampled(command: Command, temperature: number): void {
  const given = givenFields(command);
  const flags = fields.filter(({ key }) => CHANCE.includes(key) && key in given).map(({ flag }) => flag);
  if (temperature > 0 || flags.length === 0) return;
  const verb = flags.length === 1 ? "has" : "have";
  throw new TinyLoraError("ERR_USAGE", `${flags.join(", ")} ${verb} no effect with greedy decoding (temperature 0)`);
}

/** The values of the flags that were given, by key. */
export function givenFields(command: Command): Record<string, unknown> {
  const given: Record<string, unknown> = {};
  for (const field of added.get(command) ?? []) {
    const name = optionOf(field).attributeName();
    if (command.getOptionValueSource(name) !== "cli") continue;
    const value = command.getOptionValue(name);
    given[field.key] = value === true || Array.isArray(value) ? value : parseFlag(field, String(value));
  }
  return given;
}

/** Every option of the schema: the flags that were given over the defaults, checked. */
export function resolvedFields(command: Command): TrainConfig {
  return resolveConfig({ ...environmentOptions(), ...givenFields(command) }, "flags");
}

function optionOf(field: Field): Option {
  const value = field.type === "boolean" ? "[true|false]" : `<${placeholder(field)}>`;
  const standard = shownDefault(field.default);
  const choices = field.choices ? `; ${field.type === "list" ? "any" : "one"} of ${field.choices.join(", ")}` : "";
  const each = field.repeated ? "; a flag for each" : "";
  const description = `${field.description}${choices}${each}${standard ? ` (default: ${standard})` : ""}`;
  const option = new Option(`${field.flag} ${value}`, description).helpGroup(`${field.section}:`);
  return field.repeated ? option.argParser(collect) : option;
}

/** The texts of a flag that may be given again. An empty one takes back those before: the list is empty. */
function collect(text: string, before: readonly string[] = []): string[] {
  return text === "" ? [] : [...before, text];
}

function placeholder(field: Field): string {
  if (field.repeated) return "text";
  return { number: "number", integer: "n", list: "a,b,...", string: "text", choice: "name", boolean: "" }[field.type];
}

function shownDefault(value: unknown): string {
  if (value === null || (Array.isArray(value) && value.length === 0)) return "";
  return Array.isArray(value) ? value.join(",") : String(value);
}

/** An error of the command line; of an option that TRL has and this package has not, with what takes its place. */
export function withTrlName(text: string): string {
  const name = /unknown option '--([\w-]+)/.exec(text)?.[1]?.replaceAll("-", "_") ?? "";
  const place = inPlaceOf(name);
  return place === undefined ? text : `${text.trimEnd()} (${place})\n`;
}
