import { createContext, Script } from "node:vm";

const box = createContext({ call: undefined });
const script = new Script("call()");

/** What `call` returns, a promise or not, or what `late` makes where that takes longer than `seconds`, even in a loop that never awaits. */
export async function inTime<T>(call: () => T | Promise<T>, seconds: number, late: () => Error): Promise<T> {
  const started = performance.now();
  const value = callInTime(call, seconds, late);
  if (typeof (value as PromiseLike<T> | null)?.then !== "function") return value;
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), seconds * 1000 - (performance.now() - started));
  });
  try {
    return await Promise.race([value, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Only a script of node:vm can be stopped from outside while it runs, with all that it calls. */
function callInTime<T>(call: () => T, seconds: number, late: () => Error): T {
  box.call = call;
  try {
    return script.runInContext(box, { timeout: Math.max(1, Math.ceil(seconds * 1000)) });
  } catch (cause) {
    throw (cause as { code?: unknown } | null)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? late() : cause;
  } finally {
    box.call = undefined;
  }
}
