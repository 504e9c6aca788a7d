import { Command } from "commander";
import { expect, vi } from "vitest";
import { exitCode, report } from "../../bin/exit.js";
import type { CliResult } from "./run.js";

type Add = (program: Command) => void;

/** Runs a command as the command line does, in this process and from its source; commander's own messages are not told. */
export async function run(add: Add, ...args: string[]): Promise<CliResult> {
  const out: string[] = [];
  const err: string[] = [];
  const spies = [
    vi.spyOn(process.stdout, "write").mockImplementation((text) => out.push(String(text)) > 0),
    vi.spyOn(console, "log").mockImplementation((line = "") => void out.push(`${line}\n`)),
    vi.spyOn(console, "error").mockImplementation((line) => void err.push(`${line}\n`)),
  ];
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] }); // a slow machine would say how far it is
  let code = 0;
  try {
    const program = new Command("tinylora-native").exitOverride().configureOutput({ writeErr: () => {} });
    add(program);
    await program.parseAsync([program.commands[0]!.name(), ...args], { from: "user" });
  } catch (error) {
    report(error);
    code = exitCode(error);
  } finally {
    for (const spy of spies) spy.mockRestore();
    vi.useRealTimers();
  }
  return { code, stdout: out.join(""), stderr: err.join("") };
}

export async function ok(add: Add, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(add, ...args);
  expect(code, stderr).toBe(0);
  return stdout;
}
