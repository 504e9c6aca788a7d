import { CommanderError } from "commander";
import { camelCase } from "../lib/caller-names.js";
import { fields } from "../lib/config/fields.js";
import { TinyLoraError } from "../lib/index.js";

/** 0 done, 1 failed, 2 used wrongly, 130 interrupted. */
export function exitCode(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (isInterrupt(error)) return 130;
  return error instanceof TinyLoraError && ["ERR_USAGE", "ERR_CONFIG"].includes(error.code) ? 2 : 1;
}

/** One line (the stack too for what nobody foresaw). Commander has said its own. */
export function report(error: unknown): void {
  if (error instanceof CommanderError) return;
  if (isInterrupt(error)) console.error("interrupted");
  else if (error instanceof TinyLoraError) console.error(`error: ${withKeys(error)}`);
  else console.error(error);
}

/** The library has the schema's options under names like `cacheTokens`: here they are called as in files and flags. */
function withKeys({ code, message }: TinyLoraError): string {
  if (code !== "ERR_ARGUMENT") return message;
  const word = (name: string) => new RegExp(`(?<![\\w/\\\\.-])${name}(?![\\w/\\\\-])`, "g"); // no part of a path
  return fields.reduce((told, { key }) => told.replace(word(camelCase(key)), key), message);
}

/** Runs with a signal that the first Ctrl-C aborts; the second ends the process. */
export async function interruptible<T>(run: (signal: AbortSignal) => Promise<T>, onInterrupt?: () => void): Promise<T> {
  const controller = new AbortController();
  const interrupt = () => {
    if (controller.signal.aborted) process.exit(130);
    onInterrupt?.();
    controller.abort();
  };
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  try {
    return await run(controller.signal);
  } finally {
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
  }
}

function isInterrupt(error: unknown): boolean {
  return (
    error instanceof Error && (error.name === "AbortError" || (error as { code?: unknown }).code === "ERR_ABORTED")
  );
}
