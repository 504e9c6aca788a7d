import { withinTime } from "../within-time.js";

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
  const value = withinTime(Math.max(1, Math.ceil(limit.seconds * 1000)), call, limit.late);
  if (!isThenable(value)) return value;
  return settled(value, { ...limit, seconds: limit.seconds - (performance.now() - started) / 1000 });
}

/** What comes of a promise within the limit. What it stands for is not stopped. */
export async function settled<T>(value: PromiseLike<T>, { seconds, late, signal }: Limit): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let giveUp = () => {};
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), 1000 * seconds);
    giveUp = () => reject(signal!.reason);
    if (signal?.aborted) giveUp(); // below, so that somebody takes what `value` may reject with
  });
  signal?.addEventListener("abort", giveUp);
  try {
    return await Promise.race([limit, value]);
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
