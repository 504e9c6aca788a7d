import { randomUniform } from "../philox.js";

/** Items epoch after epoch without a gap, each epoch in an order of its own: where the steps of a run take theirs from. */
export class Epochs<T> {
  readonly #items: readonly T[];
  readonly #seed: number;
  /** Of the epoch that was read last: the next step most often goes on in it. */
  #order: { readonly epoch: number; readonly places: Uint32Array } = { epoch: -1, places: new Uint32Array() };

  constructor(items: readonly T[], seed: number) {
    this.#items = items;
    this.#seed = seed;
  }

  /** Items of an epoch. */
  get length(): number {
    return this.#items.length;
  }

  /**
   * Those of one step, 0 being the first: `count` a step. They depend on the arguments alone, so that a resumed run reads
   * on where it stopped.
   */
  ofStep(step: number, count: number): T[] {
    const { length } = this.#items;
    return Array.from({ length: count }, (_, i) => {
      const place = step * count + i;
      return this.#items[this.#placesOf(Math.floor(place / length))[place % length]!]!;
    });
  }

  #placesOf(epoch: number): Uint32Array {
    if (this.#order.epoch !== epoch) {
      this.#order = { epoch, places: permutation(this.#items.length, this.#seed, epoch) };
    }
    return this.#order.places;
  }
}

/** The order of `length` examples in one epoch: a permutation that depends on (seed, epoch) alone. */
export function permutation(length: number, seed: number, epoch: number): Uint32Array {
  const order = Uint32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(randomUniform(seed, "order", epoch, i) * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** `count` of `items`, spread evenly and always the same ones: what is evaluated during training. */
export function spread<T>(items: readonly T[], count: number): T[] {
  if (count >= items.length) return [...items];
  return Array.from({ length: count }, (_, i) => items[Math.floor((i * items.length) / count)]!);
}
