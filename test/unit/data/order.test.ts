import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { Epochs, permutation, spread } from "../../../lib/data/order.js";
import { philox, randomInteger, randomUniform } from "../../../lib/philox.js";

describe("philox", () => {
  it("gives the published numbers", () => {
    const hex = (words: number[]) => words.map((word) => word.toString(16).padStart(8, "0")).join(" ");
    expect(hex(philox([0, 0, 0, 0], [0, 0]))).toBe("6627e8d5 e169c58d bc57ac4c 9b00dbd8");
    const ones = 0xffffffff;
    expect(hex(philox([ones, ones, ones, ones], [ones, ones]))).toBe("408f276d 41c83b0e a20bc7c6 6d5451fd");
    const pi = philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]);
    expect(hex(pi)).toBe("d16cfe09 94fdcceb 5001e420 24126ea1");
  });

  it("keeps purposes, seeds and places apart, within range", () => {
    const values = [
      randomInteger(1, "order", 0),
      randomInteger(1, "sampling", 0),
      randomInteger(2, "order", 0),
      randomInteger(1, "order", 1),
      randomInteger(1, "order", 0, 1),
      randomInteger(2 ** 40 + 1, "order", 0),
    ];
    expect(new Set(values).size).toBe(values.length);
    for (const value of values) expect(Number.isSafeInteger(value)).toBe(true);
    const mean = Array.from({ length: 4000 }, (_, i) => randomUniform(5, "init", i)).reduce((a, b) => a + b) / 4000;
    expect(mean).toBeCloseTo(0.5, 1);
  });
});

describe("order", () => {
  it("visits every example once an epoch, in an order of (seed, epoch) alone", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9 }), fc.nat(), (length, count, seed) => {
        const steps = Math.ceil((3 * length) / count);
        const epochs = new Epochs([...Array(length).keys()], seed);
        const all = Array.from({ length: steps }, (_, step) => epochs.ofStep(step, count)).flat();
        for (let epoch = 0; epoch < 3; epoch++) {
          const seen = all.slice(epoch * length, (epoch + 1) * length);
          expect(seen).toEqual([...permutation(length, seed, epoch)]);
          expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length }, (_, i) => i));
        }
      }),
      { numRuns: 50 },
    );
    expect([...permutation(8, 42, 0)]).toEqual([1, 0, 4, 6, 5, 3, 7, 2]); // runs of older versions go on by it
    const resumed = new Epochs([...Array(8).keys()], 42);
    expect(resumed.ofStep(2, 3)).toEqual([7, 2, 3]);
    expect(permutation(50, 1, 0)).not.toEqual(permutation(50, 1, 1));
    expect(permutation(50, 1, 0)).not.toEqual(permutation(50, 2, 0));
  });

  it("is made once an epoch, however many steps take their examples from it", () => {
    const epochs = new Epochs(new Array<number>(64).fill(0), 1);
    const made = vi.spyOn(Uint32Array, "from");
    for (let step = 0; step < 16; step++) epochs.ofStep(step, 8);
    expect(made).toHaveBeenCalledTimes(2);
    made.mockRestore();
  });

  it("spreads a choice evenly", () => {
    expect(spread([0, 1, 2, 3, 4, 5, 6, 7], 4)).toEqual([0, 2, 4, 6]);
    expect(spread([0, 1], 4)).toEqual([0, 1]);
  });
});
