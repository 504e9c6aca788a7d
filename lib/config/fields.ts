/** The options as plain data, for command-line flags and `--help`. */
import type { z } from "zod";
import { sections } from "./schema.js";

export interface Field {
  /** As in config files: `num_generations`. */
  readonly key: string;
  /** As on the command line: `--num-generations`. */
  readonly flag: string;
  readonly section: string;
  readonly description: string;
  readonly type: "number" | "integer" | "boolean" | "string" | "choice" | "list";
  /** Of a choice, or of each item of a list. */
  readonly choices?: readonly string[];
  /** Of each item of a list. */
  readonly items?: "number" | "string";
  /** A list with a flag for each item, which is taken as it is: it may hold commas and white space. */
  readonly repeated: boolean;
  readonly default: unknown;
}

const REPEATED = ["stop"];

export const fields: readonly Field[] = Object.entries(sections).flatMap(([section, shape]) =>
  Object.entries(shape).map(([key, type]) => toField(section, key, type)),
);

/** num_generations as it is on the command line: `--num-generations`. */
export function flagOf(key: string): string {
  return `--${key.replaceAll("_", "-")}`;
}

/**
 * The value of the text of a flag that is given once. What it cannot read it returns as it is, for the schema to refuse
 * by name.
 */
export function parseFlag(field: Field, text: string): unknown {
  switch (field.type) {
    case "number":
    case "integer":
      return toNumber(text);
    case "boolean":
      return text === "true" ? true : text === "false" ? false : text;
    case "list": {
      const items = text === "" ? [] : text.split(",");
      return items.map((item) => (field.items === "number" ? toNumber(item.trim()) : item.trim()));
    }
    default:
      return text;
  }
}

function toNumber(text: string): unknown {
  const value = Number(text);
  return text.trim() === "" || Number.isNaN(value) ? text : value;
}

function toField(section: string, key: string, type: z.ZodType): Field {
  const inner = unwrap(type);
  return {
    key,
    flag: flagOf(key),
    section,
    description: type.description ?? "",
    ...kind(inner),
    repeated: REPEATED.includes(key),
    default: type.parse(undefined),
  };
}

function kind(type: z.core.$ZodTypes): Pick<Field, "type" | "choices" | "items"> {
  switch (type._zod.def.type) {
    case "boolean":
      return { type: "boolean" };
    case "number":
      return { type: "format" in type._zod.def || type._zod.bag.format === "safeint" ? "integer" : "number" };
    case "enum":
      return { type: "choice", choices: Object.values(type._zod.def.entries).map(String) };
    case "array": {
      const item = kind(unwrap(type._zod.def.element));
      const items = item.type === "number" ? "number" : "string";
      return item.choices ? { type: "list", items, choices: item.choices } : { type: "list", items };
    }
    default:
      return { type: "string" };
  }
}

/** The type behind default, nullable and preprocess. */
function unwrap(type: z.core.$ZodType): z.core.$ZodTypes {
  const def = (type as z.core.$ZodTypes)._zod.def;
  if (def.type === "default" || def.type === "nullable") return unwrap(def.innerType);
  if (def.type === "pipe") return unwrap(def.out);
  return type as z.core.$ZodTypes;
}
