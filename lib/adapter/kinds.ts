import type { LinearModule } from "../native/addon.js";
import { projection } from "../native/session.js";
import { randomUniform } from "../philox.js";
import type { AdapterMatrices } from "./file.js";
import type { AdapterKindName, AdapterSpec } from "./spec.js";

/**
 * What tells one kind of adapter from another, given W' = W + B (sum_i v_i P_i) A: how many numbers a tie group has,
 * what the P of a module are, and whether A and B are trained. A new kind is one more entry here and a name in spec.ts.
 */
interface AdapterKind {
  /** What a spec of this kind has where nothing else is asked for. */
  readonly defaults: Partial<AdapterSpec>;
  /** u as the kind has it: the asked one, or what the rank says. */
  numbersPerGroup(spec: Pick<AdapterSpec, "r" | "u">): number;
  /** [numbers, r, r] of the module with this index. */
  projection(spec: AdapterSpec, module: number): Float32Array;
  /** A and B at the start, of a kind that trains them instead of v; others take theirs from the SVD. */
  readonly matrices?: (spec: AdapterSpec, modules: readonly LinearModule[]) => AdapterMatrices;
}

const tinyLora: AdapterKind = {
  defaults: {},
  numbersPerGroup: (spec) => spec.u,
  projection: (spec, module) => projection({ ...spec.projection, module, u: spec.u, rank: spec.r }),
};

/** All of R is trained: its r * r entries are v, each with its unit matrix. */
const loraXs: AdapterKind = {
  defaults: { tying: { kind: "none" }, projection: { seed: 0, distribution: "unit" } },
  numbersPerGroup: (spec) => spec.r ** 2,
  projection: tinyLora.projection,
};

/** v is the one number alpha / r and P the identity: R = (alpha / r) I, and A and B are trained as in PEFT. */
const lora: AdapterKind = {
  defaults: { tying: { kind: "all" } },
  numbersPerGroup: () => 1,
  projection: ({ r: rank }) => Float32Array.from({ length: rank * rank }, (_, i) => (i % (rank + 1) === 0 ? 1 : 0)),
  matrices: (spec, modules) =>
    new Map(
      modules.map(({ index, name, in: inputs, out }) => [
        name,
        {
          a: kaimingUniform(spec, index, inputs),
          b: new Float32Array(out * spec.r),
          p: lora.projection(spec, index),
        },
      ]),
    ),
};

/** [r, in], uniform in +-1 / sqrt(in): torch's kaiming_uniform_ with a = sqrt(5), which PEFT starts A from. */
function kaimingUniform({ r: rank, projection: { seed } }: AdapterSpec, module: number, inputs: number): Float32Array {
  const bound = 1 / Math.sqrt(inputs);
  return Float32Array.from(
    { length: rank * inputs },
    (_, i) => bound * (2 * randomUniform(seed, "init", module, i) - 1),
  );
}

export const ADAPTER_KINDS: Readonly<Record<AdapterKindName, AdapterKind>> = {
  tinylora: tinyLora,
  lora_xs: loraXs,
  lora,
};
