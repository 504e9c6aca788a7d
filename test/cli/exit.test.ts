import { CommanderError } from "commander";
import { afterEach, expect, it, vi } from "vitest";
import { exitCode, interruptible, report } from "../../bin/exit.js";
import { TinyLoraError } from "../../lib/index.js";

afterEach(() => vi.restoreAllMocks());

const aborted = () => AbortSignal.abort().reason as Error;

it.each<[string, unknown, number, unknown[]]>([
  ["help that was asked for", new CommanderError(0, "commander.helpDisplayed", "help"), 0, []],
  ["what commander refuses and has told", new CommanderError(1, "commander.unknownOption", "unknown"), 2, []],
  ["flags that contradict", new TinyLoraError("ERR_USAGE", "--a, --b"), 2, ["error: --a, --b"]],
  ["options that are wrong", new TinyLoraError("ERR_CONFIG", "seed: 1"), 2, ["error: seed: 1"]],
  ["a failure", new TinyLoraError("ERR_DATA", "no rows"), 1, ["error: no rows"]],
  ["Ctrl-C", aborted(), 130, ["interrupted"]],
  ["Ctrl-C in native code", new TinyLoraError("ERR_ABORTED", "aborted"), 130, ["interrupted"]],
])("%s", (_, error, code, lines) => {
  const said: unknown[] = [];
  vi.spyOn(console, "error").mockImplementation((line) => void said.push(line));
  report(error);
  expect(said).toEqual(lines);
  expect(exitCode(error)).toBe(code);
});

it("what nobody foresaw, with its stack", () => {
  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  const error = new TypeError("undefined is no function");
  report(error);
  expect(said).toHaveBeenCalledWith(error);
  expect([exitCode(error), exitCode("a text")]).toEqual([1, 1]);
});

it.each(["SIGINT", "SIGTERM"] as const)("the first %s stops the work, the second the process", async (name) => {
  const listeners = () => process.listenerCount(name);
  const exit = vi.spyOn(process, "exit").mockImplementation(() => {
    throw new Error("exited");
  });
  const before = listeners();
  let interrupts = 0;
  const work = async (signal: AbortSignal) => {
    expect(signal.aborted).toBe(false);
    process.emit(name);
    expect([signal.aborted, interrupts]).toEqual([true, 1]);
    expect(exit).not.toHaveBeenCalled();
    expect(() => process.emit(name)).toThrow("exited");
    expect(exit).toHaveBeenCalledWith(130);
    return 7;
  };
  expect(await interruptible(work, () => void interrupts++)).toBe(7);
  expect([interrupts, listeners()]).toEqual([1, before]);
  await expect(interruptible(() => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
  expect(listeners()).toBe(before);
});
