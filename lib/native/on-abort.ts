interface Listeners {
  readonly waiting: Set<() => void>;
  readonly tell: () => void;
}

const listenersOf = new WeakMap<AbortSignal, Listeners>();

/**
 * Calls `listener` when the signal is aborted, unless the returned function is called before. However many wait for a
 * signal, it has one listener, and none when nobody waits: Node warns of more than ten.
 */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  if (!signal) return () => {};
  const { waiting, tell } = listenersOf.get(signal) ?? listen(signal);
  const own = () => listener(); // one function may wait twice
  waiting.add(own);
  return () => {
    if (!waiting.delete(own) || waiting.size > 0) return;
    signal.removeEventListener("abort", tell);
    listenersOf.delete(signal);
  };
}

function listen(signal: AbortSignal): Listeners {
  const waiting = new Set<() => void>();
  const tell = () => {
    listenersOf.delete(signal);
    for (const own of waiting) own();
  };
  signal.addEventListener("abort", tell, { once: true });
  const listeners = { waiting, tell };
  listenersOf.set(signal, listeners);
  return listeners;
}

/** What comes of the promise, or the signal's reason where that is first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const ended = onAbort(signal, () => reject(signal.reason));
    promise.then(resolve, reject).finally(ended); // also where it comes too late: a rejection that nobody takes ends Node
    signal.throwIfAborted();
  });
}

/**
 * Aborts with `signal` too, and listens to it until it is aborted itself. AbortSignal.any would do, but where nothing else
 * holds them, Node 20 forgets what it joins.
 */
export function follower(signal: AbortSignal | undefined): AbortController {
  const controller = new AbortController();
  if (signal?.aborted) controller.abort(signal.reason);
  const ended = onAbort(signal, () => controller.abort(signal?.reason));
  controller.signal.addEventListener("abort", ended, { once: true });
  return controller;
}
