/** An adapter as plain LoRA of the same rank: B (sum_i v_i P_i) A is (B R) A, exactly. */
import { roundVector } from "../adapter/vector-dtype.js";
import type { AdapterBasis, LinearModule } from "../native/addon.js";

/** What `engine.basis()` gives of the attached adapter. */
export interface AttachedBasis {
  readonly modules: readonly LinearModule[];
  readonly basis: AdapterBasis;
}

/** W' = W + B A of each module: the scale alpha / r is 1. */
export interface PlainLora {
  readonly rank: number;
  readonly modules: readonly LoraModule[];
}

export interface LoraModule {
  readonly module: LinearModule;
  /** [r, in] */
  readonly a: Float32Array;
  /** [out, r] */
  readonly b: Float32Array;
}

/** That of the attached adapter with this v, [groups * u]. */
export function plainLora({ modules, basis }: AttachedBasis, v: Float32Array): PlainLora {
  const { rank, u } = basis;
  return {
    rank,
    modules: basis.modules.map(({ module, group, a, b, p }) => {
      const r = combine(p, v.subarray(group * u, (group + 1) * u), rank);
      return { module: modules[module]!, ...balanced(a, times(b, r, rank)) };
    }),
  };
}

/** R = sum_i v_i P_i, [r, r]. */
function combine(p: Float32Array, v: Float32Array, rank: number): Float64Array {
  const r = new Float64Array(rank * rank);
  for (const [i, value] of v.entries()) {
    for (let at = 0; at < r.length; at++) r[at]! += value * p[i * r.length + at]!;
  }
  return r;
}

/** B R, [out, r]. */
function times(b: Float32Array, r: Float64Array, rank: number): Float32Array {
  return Float32Array.from(b, (_, at) => {
    const [row, column] = [Math.floor(at / rank), at % rank];
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += b[row * rank + k]! * r[k * rank + column]!;
    return sum;
  });
}

/** Both factors of like size, by a power of two, so that types with few bits hold both and nothing is rounded here. */
function balanced(a: Float32Array, b: Float32Array): { a: Float32Array; b: Float32Array } {
  const [sizeA, sizeB] = [largest(a), largest(b)];
  if (sizeA === 0 || sizeB === 0) return { a, b };
  const scale = 2 ** Math.round(Math.log2(sizeB / sizeA) / 2);
  return { a: a.map((value) => value * scale), b: b.map((value) => value / scale) };
}

function largest(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

/**
 * How far B A moves, relative to its Frobenius norm, when both factors are rounded to bf16, as an engine that runs in
 * bf16 does: the worst of all modules.
 */
export function bf16Error({ rank, modules }: PlainLora): number {
  return Math.max(...modules.map(({ a, b, module }) => moduleError(a, b, rank, module)));
}

/** |B'A' - BA| / |BA| from Gram matrices of [B' -B] and [A'; A]: the products themselves are never formed. */
function moduleError(
  a: Float32Array,
  b: Float32Array,
  rank: number,
  { in: inputs, out: outputs }: LinearModule,
): number {
  const [roundA, roundB] = [roundVector(a, "bf16"), roundVector(b, "bf16")];
  const row = (i: number, k: number) => (k < rank ? roundA[k * inputs + i]! : a[(k - rank) * inputs + i]!);
  const column = (o: number, k: number) => (k < rank ? roundB[o * rank + k]! : -b[o * rank + k - rank]!);
  let [error, whole] = [0, 0];
  for (let k = 0; k < 2 * rank; k++) {
    for (let l = 0; l < 2 * rank; l++) {
      let [left, right] = [0, 0];
      for (let o = 0; o < outputs; o++) left += column(o, k) * column(o, l);
      for (let i = 0; i < inputs; i++) right += row(i, k) * row(i, l);
      error += left * right;
      if (k >= rank && l >= rank) whole += left * right;
    }
  }
  return whole === 0 ? 0 : Math.sqrt(Math.max(0, error) / whole);
}
