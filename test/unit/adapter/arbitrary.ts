import fc from "fast-check";
import { linearModules, MODULE_TYPES } from "../../../lib/adapter/modules.js";
import { parameterTable } from "../../../lib/adapter/parameters.js";
import type { AdapterFacts } from "../../../lib/adapter/short-string.js";
import { type AdapterSpec, adapterSpec, DISTRIBUTIONS, SPLITS } from "../../../lib/adapter/spec.js";
import type { Tying } from "../../../lib/adapter/tying.js";
import { roundVector, VECTOR_DTYPES } from "../../../lib/adapter/vector-dtype.js";
import type { ModelConfig } from "../../../lib/native/model-source.js";

/** A model of three layers: shapes only. */
export const CONFIG: ModelConfig = {
  family: "llama",
  vocab: 96,
  hidden: 16,
  intermediate: 24,
  layers: 3,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  context: 64,
  rmsNormEpsilon: 1e-5,
  tiedEmbeddings: true,
  ropeTheta: 10000,
};
export const MODULES = linearModules(CONFIG);

export const anyTying: fc.Arbitrary<Tying> = fc.oneof(
  fc.constant<Tying>({ kind: "none" }),
  fc.constant<Tying>({ kind: "all" }),
  fc.record({ kind: fc.constant("structured" as const), nTie: fc.integer({ min: 1, max: 300 }) }),
  fc.record({ kind: fc.constant("tiled" as const), nTie: fc.integer({ min: 1, max: 300 }) }),
  fc.record({ kind: fc.constant("ratio" as const), ratio: fc.double({ min: 0, max: 1, noNaN: true }) }),
);

const anySpec: fc.Arbitrary<AdapterSpec> = fc
  .record({
    r: fc.integer({ min: 1, max: 8 }),
    u: fc.integer({ min: 1, max: 64 }),
    tying: anyTying,
    split: fc.constantFrom(...SPLITS),
    projection: fc.record({
      seed: fc.maxSafeNat(),
      distribution: fc.constantFrom(...DISTRIBUTIONS),
    }),
    targetModules: fc.subarray([...MODULE_TYPES], { minLength: 1 }),
    dtype: fc.constantFrom(...VECTOR_DTYPES),
  })
  .map((spec) => (spec.projection.distribution === "unit" ? { ...spec, u: spec.r ** 2 } : spec))
  .map(adapterSpec);

export const anyFacts: fc.Arbitrary<AdapterFacts> = anySpec.chain((spec) => {
  const count = parameterTable(spec, MODULES).trained;
  return fc.record({
    spec: fc.constant(spec),
    fingerprint: fc.stringMatching(/^[0-9a-f]{16}$/),
    svdRecipe: fc.integer({ min: 1, max: 300 }),
    v: fc
      .float32Array({ minLength: count, maxLength: count, noNaN: true, min: -2, max: 2 })
      .map((v) => roundVector(v, spec.dtype)),
  });
});
