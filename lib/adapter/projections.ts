/**
 * Adapters side by side that differ in their projection. Their basis holds the P of all projections, one after another,
 * and each adapter's v is zero at the P of the others: R = sum_i v_i P_i and dv_i = <P_i, dR> keep the bits that they
 * have alone, since a term 0 * P changes no sum.
 */
import { TinyLoraError } from "../error.js";
import type { AdapterBasis } from "../native/addon.js";
import type { AdapterSpec } from "./spec.js";

/** Numbers of v that one tie group may have in native code, those of all projections together. */
export const MOST_NUMBERS = 1 << 16;

export class Projections {
  /** Specs that make all the P, each once. */
  readonly specs: readonly AdapterSpec[];
  readonly #of: readonly number[];
  readonly #u: number;

  /** `slots`: the spec of each slot's adapter. They differ in `projection` at most. */
  constructor(slots: readonly AdapterSpec[]) {
    const distinct = new Map<string, AdapterSpec>();
    for (const spec of slots) distinct.set(projectionKey(spec), distinct.get(projectionKey(spec)) ?? spec);
    const keys = [...distinct.keys()];
    this.specs = [...distinct.values()];
    this.#of = slots.map((spec) => keys.indexOf(projectionKey(spec)));
    this.#u = slots[0]!.u;
  }

  /** Of a slot's adapter. */
  specOf(slot: number): AdapterSpec {
    return this.specs[this.#of[slot]!]!;
  }

  /** Whether a slot's adapter has the projection of `spec`. */
  has(slot: number, spec: AdapterSpec): boolean {
    return projectionKey(this.specOf(slot)) === projectionKey(spec);
  }

  /** A slot's v among the numbers of all projections: [groups * u] to [groups * projections * u]. */
  widen(slot: number, v: Float32Array): Float32Array {
    if (this.specs.length === 1) return v;
    if (v.length % this.#u !== 0) {
      throw new TinyLoraError("ERR_ADAPTER", `v: expected a multiple of ${this.#u} numbers, found ${v.length}`);
    }
    const wide = new Float32Array(v.length * this.specs.length);
    for (let start = 0; start < v.length; start += this.#u) {
      wide.set(v.subarray(start, start + this.#u), start * this.specs.length + this.#start(slot));
    }
    return wide;
  }

  /** The reverse of `widen`, of a gradient, or of those of several parts one after another. */
  narrow(slot: number, wide: Float64Array): Float64Array {
    if (this.specs.length === 1) return wide;
    const own = new Float64Array(wide.length / this.specs.length);
    for (let start = 0; start < own.length; start += this.#u) {
      const from = start * this.specs.length + this.#start(slot);
      own.set(wide.subarray(from, from + this.#u), start);
    }
    return own;
  }

  /** The basis as it is for one slot's adapter alone. */
  basisOf(slot: number, basis: AdapterBasis): AdapterBasis {
    if (this.specs.length === 1) return basis;
    const size = basis.modules[0]!.p.length / this.specs.length;
    const first = this.#of[slot]! * size;
    const modules = basis.modules.map((module) => ({ ...module, p: module.p.slice(first, first + size) }));
    return { ...basis, u: this.#u, modules };
  }

  #start(slot: number): number {
    return this.#of[slot]! * this.#u;
  }
}

function projectionKey({ projection: { seed, distribution } }: AdapterSpec): string {
  return `${seed} ${distribution}`;
}
