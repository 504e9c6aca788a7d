import { createContext, Script } from "node:vm";

const box = createContext({ run: undefined });
const script = new Script("run()");

/**
 * What `run` gives, or `late()` thrown where it takes more than so many milliseconds, in the midst of a loop too: only a
 * script of node:vm can be stopped from outside while it runs, with all that it calls.
 */
export function withinTime<T>(milliseconds: number, run: () => T, late: () => Error): T {
  box.run = run;
  try {
    return script.runInContext(box, { timeout: milliseconds }) as T;
  } catch (cause) {
    throw (cause as { code?: unknown } | null)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? late() : cause;
  } finally {
    box.run = undefined;
  }
}
