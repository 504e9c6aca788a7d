import { spawn } from "node:child_process";
import { join } from "node:path";
import { text } from "node:stream/consumers";

export const ROOT = join(import.meta.dirname, "..", "..");
export const BIN = join(ROOT, "dist", "bin", "tinylora-native.js");

/** Milliseconds; less than a test may take. */
const LONGEST = 300_000;

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** For a process in which nobody says how far it is: on a slow machine the half minute until then would go by. */
const SILENT = `
  const { setInterval } = globalThis;
  globalThis.setInterval = (call, ms) => setInterval(call, ms < 30_000 ? ms : 2 ** 31 - 1);`;

/** Node's arguments for the built command line; `first` is a module that runs before it. */
export function commandLine(args: readonly string[], first = SILENT): string[] {
  return ["--import", `data:text/javascript,${encodeURIComponent(first)}`, BIN, ...args];
}

/** Sends the process Ctrl-C, once, when it prints a text: from outside it could come too late. */
const interruptingAfter = (text: string) => `
  let awaited = true;
  for (const stream of [process.stdout, process.stderr]) {
    const write = stream.write.bind(stream);
    stream.write = (chunk, ...rest) => {
      if (awaited && String(chunk).includes(${JSON.stringify(text)})) {
        awaited = false;
        process.kill(process.pid, "SIGINT");
      }
      return write(chunk, ...rest);
    };
  }`;

/** Runs the built command line as a user would; Ctrl-C comes when `interruptAfter` is printed. No model is found unless the arguments or `env` name one. */
export async function runCli(
  args: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv; interruptAfter?: string; first?: string } = {},
): Promise<CliResult> {
  const { interruptAfter, first = SILENT } = options;
  const interrupt = interruptAfter === undefined ? "" : interruptingAfter(interruptAfter);
  const child = spawn(process.execPath, commandLine(args, first + interrupt), {
    cwd: ROOT,
    env: { ...process.env, TINYLORA_MODEL: "", ...options.env },
    timeout: LONGEST, // one that does not end is not left behind
  });
  child.stdin.on("error", () => {}); // a command that fails early closes its input
  child.stdin.end(options.input ?? "");
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
