import { randomUniform } from "./philox.js";

/** The order of `length` examples in one epoch: a permutation that depends on (seed, epoch) alone. */
export function permutation(length: number, seed: number, epoch: number): Uint32Array {
  const order = Uint32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(randomUniform(seed, "order", epoch, i) * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/**
 * Indices of the examples of one step, 0 being the first: `count` a step, epoch after epoch without a gap. A pure
 * function, so that a resumed run reads on where it stopped.
 */
export function examplesOfStep(step: number, count: number, length: number, seed: number): number[] {
  const first = step * count;
  const orders = new Map<number, Uint32Array>();
  return Array.from({ length: count }, (_, i) => {
    const epoch = Math.floor((first + i) / length);
    const order = orders.get(epoch) ?? permutation(length, seed, epoch);
    orders.set(epoch, order);
    return order[(first + i) % length]!;
  });
}

/** `count` of `items`, spread evenly and always the same ones: what is evaluated during training. */
export function spread<T>(items: readonly T[], count: number): T[] {
  if (count >= items.length) return [...items];
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!);
}
