import { TinyLoraError } from "./error.js";
import { show } from "./show.js";

/**
 * For callers without types, whose misspelt option would be without effect. ERR_ARGUMENT for options that are no object,
 * and for a name that is none of `known`, all those that the type of the options has.
 */
export function checkOptionNames<Options extends object>(
  what: string,
  options: Options,
  known: Readonly<Record<keyof Options, true>>,
): void {
  if (typeof options !== "object" || options === null) {
    throw new TinyLoraError("ERR_ARGUMENT", `${what}: expected options by name, found ${show(options)}`);
  }
  const unknown = Object.keys(options).filter((name) => !Object.hasOwn(known, name));
  if (unknown.length === 0) return;
  throw new TinyLoraError(
    "ERR_ARGUMENT",
    `${what}: unknown option ${unknown.join(", ")}, expected some of ${Object.keys(known).join(", ")}`,
  );
}
