/** What zod finds wrong, as messages of this package say it. */
import type { z } from "zod";
import { show } from "../show.js";
import { nearest } from "./nearest.js";

/** What was expected of a key of `options`, and what was found there. */
export function describeIssue(issue: z.core.$ZodIssue, options: object): string {
  const path = issue.path.map(String);
  const found = path.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], options);
  const suffix = found === undefined || path.length === 0 ? "" : `, found ${show(found)}`;
  const place = path.length > 0 ? `${path.join(".")}: ` : "";
  return `${place}${expectation(issue, found)}${suffix}`;
}

function expectation(issue: z.core.$ZodIssue, found: unknown): string {
  if (issue.message.startsWith("expected")) return issue.message; // the schema's own words
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
      const hint = typeof found === "string" ? ` (${hintFor(issue, found, values)})` : "";
      return `expected one of ${values.join(", ")}${hint}`;
    }
    case "unrecognized_keys":
      return `unknown key ${issue.keys[0]}`;
    default:
      return issue.message;
  }
}

function hintFor(issue: z.core.$ZodIssue, found: string, values: readonly string[]): string {
  const namesAdapter = issue.path.at(-1) === "adapter" && /[/\\]|^tl1-/.test(found);
  return namesAdapter ? "start_from takes one to go on from" : `nearest: ${nearest(found, values)}`;
}
