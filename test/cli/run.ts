import { spawn } from "node:child_process";
import { join } from "node:path";
import { text } from "node:stream/consumers";

export const ROOT = join(import.meta.dirname, "..", "..");
export const BIN = join(ROOT, "dist", "bin", "tinylora-native.js");

/** Milliseconds; more than any test has. */
const LONGEST = 300_000;

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built command line as a user would; `interruptAfter` sends Ctrl-C when this is printed. No model is found unless the arguments or `env` name one. */
export async function runCli(
  args: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv; interruptAfter?: string } = {},
): Promise<CliResult> {
  const child = spawn(process.execPath, [BIN, ...args], {
    cwd: ROOT,
    env: { ...process.env, TINYLORA_MODEL: "", ...options.env },
    timeout: LONGEST, // one that does not end is not left behind
  });
  child.stdin.on("error", () => {}); // a command that fails early closes its input
  child.stdin.end(options.input ?? "");
  let awaited = options.interruptAfter;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      if (awaited === undefined || !chunk.includes(awaited)) return;
      awaited = undefined; // a second Ctrl-C would not wait for anything
      child.kill("SIGINT");
    });
  }
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    new Promise<number | null>((resolve) => child.on("close", resolve)),
  ]);
  return { code, stdout, stderr };
}

export function lines(output: string): string[] {
  return output.trimEnd().split("\n");
}
