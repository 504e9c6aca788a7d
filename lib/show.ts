import { inspect } from "node:util";

/** A value as messages show it: short, on one line. */
export function show(value: unknown): string {
  return shortened(textOf(value), 80);
}

/** A text of at most so many letters. */
export function shortened(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 3)}...` : text;
}

function textOf(value: unknown): string {
  if (typeof value === "function") return "a function";
  if (typeof value !== "string" && typeof value !== "object") return String(value);
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return inspect(value, { breakLength: Number.POSITIVE_INFINITY }); // a number that JSON has not, lists in lists by the thousand
  }
}
