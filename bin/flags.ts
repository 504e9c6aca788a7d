import { type Command, Option } from "commander";
import { type Field, fields, parseFlag } from "../lib/config/fields.js";
import { resolveConfig, type TrainConfig } from "../lib/index.js";

const added = new WeakMap<Command, readonly Field[]>();

/** Adds flags for these keys of the config schema, all of them by default, under its headings. */
export function addFields(command: Command, keys?: readonly string[]): void {
  const chosen = fields.filter((field) => !keys || keys.includes(field.key));
  for (const field of chosen) command.addOption(optionOf(field));
  added.set(command, chosen);
}

/** The values of the flags that were given, by key. */
export function givenFields(command: Command): Record<string, unknown> {
  const given: Record<string, unknown> = {};
  for (const field of added.get(command) ?? []) {
    const name = optionOf(field).attributeName();
    if (command.getOptionValueSource(name) !== "cli") continue;
    const value = command.getOptionValue(name);
    given[field.key] = value === true ? true : parseFlag(field, String(value));
  }
  return given;
}

/** Every option of the schema: the flags that were given over the defaults, checked. */
export function resolvedFields(command: Command): TrainConfig {
  return resolveConfig(givenFields(command), "flags");
}

function optionOf(field: Field): Option {
  const value = field.type === "boolean" ? "[true|false]" : `<${placeholder(field)}>`;
  const standard = shownDefault(field.default);
  const choices = field.choices ? `; of ${field.choices.join(", ")}` : "";
  const description = `${field.description}${choices}${standard ? ` (${standard})` : ""}`;
  return new Option(`${field.flag} ${value}`, description).helpGroup(`${field.section}:`);
}

function placeholder(field: Field): string {
  return { number: "number", integer: "n", list: "a,b,...", string: "text", choice: "name", boolean: "" }[field.type];
}

function shownDefault(value: unknown): string {
  if (value === null || (Array.isArray(value) && value.length === 0)) return "";
  return Array.isArray(value) ? value.join(",") : String(value);
}
