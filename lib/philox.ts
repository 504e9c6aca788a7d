/**
 * Philox 4x32-10 (Salmon et al. 2011): random numbers as a pure function of a key and a counter, so that a run can
 * stop anywhere and go on with the same numbers. Everything random in TypeScript comes from here.
 */

/** What a stream of numbers is for: different purposes never share a number. */
export type Purpose = "order" | "sampling" | "init" | "evaluation" | "rounding" | "problem" | "perturbation";
const purposes: Record<Purpose, number> = {
  order: 1,
  sampling: 2,
  init: 3,
  evaluation: 4,
  rounding: 5,
  problem: 6,
  perturbation: 7,
};

/** A whole number in [0, 2^53) for (seed, purpose, a, b). a and b are below 2^32. */
export function randomInteger(seed: number, purpose: Purpose, a: number, b = 0): number {
  const [x, y] = draw(seed, purpose, a, b);
  return (x >>> 11) * 2 ** 32 + y;
}

/** A number in [0, 1) for (seed, purpose, a, b). */
export function randomUniform(seed: number, purpose: Purpose, a: number, b = 0): number {
  return randomInteger(seed, purpose, a, b) / 2 ** 53;
}

function draw(seed: number, purpose: Purpose, a: number, b: number): [number, number] {
  const key: [number, number] = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
  const [x, y] = philox([a >>> 0, b >>> 0, purposes[purpose], 0], key);
  return [x, y];
}

type Four = [number, number, number, number];

export function philox(counter: Four, key: [number, number]): Four {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, c0);
    const [high1, low1] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** High and low 32 bits of the product of two 32-bit numbers, by halves of 16 bits. */
function multiply(a: number, b: number): [number, number] {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16); // below 2^32 + 2^16: exact in a double
  const other = aLow * bHigh + (middle % 0x10000);
  const high = aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(other / 0x10000);
  return [high >>> 0, Math.imul(a, b) >>> 0];
}
