import { createContext, Script } from "node:vm";

const box = createContext({ call: undefined });
const script = new Script("call()");

export interface Limit {
  readonly seconds: number;
  /** What it fails with after them. */
  readonly late: () => Error;
  /** Ends the wait at once, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What `call` returns, a promise or not, within the limit, even in a loop that never awaits. */
export async function inTime<T>(call: () => T | PromiseLike<T>, limit: Limit): Promise<T> {
  const started = performance.now();
  const value = callInTime(call, limit);
  if (!isThenable(value)) return value;
  return settled(value, { ...limit, seconds: limit.seconds - (performance.now() - started) / 1000 });
}

/** What comes of a promise within the limit. What it stands for is not stopped. */
export async function settled<T>(value: PromiseLike<T>, { seconds, late, signal }: Limit): Promise<T> {
  signal?.throwIfAborted();
  let timer: NodeJS.Timeout | undefined;
  let giveUp = () => {};
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), 1000 * seconds);
    giveUp = () => reject(signal!.reason);
  });
  signal?.addEventListener("abort", giveUp);
  try {
    return await Promise.race([value, limit]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

/** A promise, of this realm or another, or what behaves like one. */
function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  const { then } = (value ?? {}) as { then?: unknown };
  return typeof then === "function";
}

/** Only a script of node:vm can be stopped from outside while it runs, with all that it calls. */
function callInTime<T>(call: () => T, { seconds, late }: Limit): T {
  box.call = call;
  try {
    return script.runInContext(box, { timeout: Math.max(1, Math.ceil(seconds * 1000)) });
  } catch (cause) {
    throw (cause as { code?: unknown } | null)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? late() : cause;
  } finally {
    box.call = undefined;
  }
}
