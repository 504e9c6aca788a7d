import { projection } from "../native/session.js";
import type { AdapterKindName, AdapterSpec } from "./spec.js";

/**
 * What tells one kind of adapter from another, given W' = W + B (sum_i v_i P_i) A: how many numbers a tie group trains
 * and what the P of a module are. A new kind is one more entry here and a name in spec.ts.
 */
export interface AdapterKind {
  /** Numbers in v for each tie group. */
  numbersPerGroup(spec: AdapterSpec): number;
  /** [numbers, r, r] of the module with this index. */
  projection(spec: AdapterSpec, module: number): Float32Array;
}

const tinyLora: AdapterKind = {
  numbersPerGroup: (spec) => spec.u,
  projection: (spec, module) => projection({ ...spec.projection, module, u: spec.u, rank: spec.rank }),
};

export const ADAPTER_KINDS: Readonly<Record<AdapterKindName, AdapterKind>> = { tinylora: tinyLora };
