/** Milliseconds of work after which timers, the signal and a progress bar get their turn. */
const BREATH = 50;

interface InTurnOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * What `make` makes of each item, in order. Thousands of prompts take a tokenizer seconds: it lets other things happen
 * meanwhile, and stops at the signal.
 */
export async function inTurn<A, B>(
  items: readonly A[],
  make: (item: A, place: number) => B,
  { signal, onProgress }: InTurnOptions,
): Promise<B[]> {
  const made: B[] = [];
  let breath = performance.now();
  for (const [place, item] of items.entries()) {
    if (performance.now() - breath > BREATH) {
      onProgress?.(place, items.length);
      await turn(signal);
      breath = performance.now();
    }
    made.push(make(item, place));
  }
  return made;
}

/** Lets timers and the signal have their turn in the midst of long work. Rejects with the signal's reason. */
export async function turn(signal: AbortSignal | undefined): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  signal?.throwIfAborted();
}
