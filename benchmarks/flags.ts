/** Flags of the scripts here: what is wrong with one, and what a script fails of, is told in a line. */
import { readFileSync } from "node:fs";
import { type ParseArgsConfig, parseArgs } from "node:util";
import { isMissing } from "../lib/files.js";

const NUMBER_TYPES = ["bf16", "fp32"];

/**
 * What was given, checked by the form of each default: where that is a whole number, a fraction or a list of whole
 * numbers, so is what is given. `choices`: the only values of a flag. `--help` prints the comment at the script's head.
 */
export function readFlags<T extends ParseArgsConfig>(
  config: T,
  choices: Readonly<Record<string, readonly string[]>> = {},
) {
  answerHelp();
  process.on("uncaughtException", tell);
  try {
    const found = parseArgs(config);
    const values: Readonly<Record<string, unknown>> = found.values;
    for (const [name, option] of Object.entries(config.options ?? {})) {
      const value = values[name];
      if (typeof value !== "string") continue;
      const fault = faultOf(
        value,
        String(option.default ?? ""),
        choices[name] ?? (name === "dtype" ? NUMBER_TYPES : []),
      );
      if (fault !== undefined) refuse(`--${name}: expected ${fault}, found ${value === "" ? "nothing" : value}`);
    }
    return found;
  } catch (error) {
    return refuse((error as Error).message.split(/\. |\n/)[0]!);
  }
}

/** Prints the comment at the script's head and ends, where that is asked for. */
export function answerHelp(): void {
  if (!process.argv.slice(2).some((one) => one === "--help" || one === "-h")) return;
  console.log(headOf(process.argv[1]!));
  process.exit(0);
}

/** Ends the script over how it was called. */
export function refuse(message: string): never {
  console.error(`error: ${message} (--help says more)`);
  process.exit(2);
}

function faultOf(value: string, standard: string, choices: readonly string[]): string | undefined {
  if (choices.length > 0) return choices.includes(value) ? undefined : `one of ${choices.join(", ")}`;
  if (value.trim() === "") return "a value";
  if (/^\d+$/.test(standard)) {
    const least = standard === "0" ? 0 : 1;
    return /^\d{1,9}$/.test(value) && Number(value) >= least ? undefined : `a whole number from ${least}`;
  }
  if (/^\d+(,\d+)+$/.test(standard)) {
    const good = value.split(",").every((one) => /^\d{1,9}$/.test(one) && Number(one) >= 1);
    return good ? undefined : "whole numbers from 1 with commas between them";
  }
  if (/^\d*\.\d+$/.test(standard))
    return Number(value) > 0 && Number.isFinite(Number(value)) ? undefined : "a number above 0";
  return undefined;
}

/** The first comment of a file, without its stars. */
function headOf(file: string): string {
  const [, text = ""] = /\/\*\*([\s\S]*?)\*\//.exec(readFileSync(file, "utf8")) ?? [];
  return text.replaceAll(/^ \* ?/gm, "").trim();
}

/** Errors of this package and of the system are for whoever ran the script, others for whoever wrote it. */
function tell(error: NodeJS.ErrnoException): void {
  const message = error.path !== undefined && isMissing(error) ? `${error.path}: no such file` : error.message;
  console.error(typeof error.code === "string" ? `error: ${message}` : error);
  process.exit(1);
}
