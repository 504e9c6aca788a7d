import { Adapter } from "../../../lib/adapter/adapter.js";
import { linearModules, targetedModules } from "../../../lib/adapter/modules.js";
import type { AdapterSpec } from "../../../lib/adapter/spec.js";
import { tieGroups } from "../../../lib/adapter/tying.js";
import type { AttachedBasis } from "../../../lib/export/lora.js";
import type { ModelConfig } from "../../../lib/native/model-source.js";
import { randomUniform } from "../../../lib/philox.js";

export const config: ModelConfig = {
  family: "llama",
  vocab: 20,
  hidden: 8,
  intermediate: 12,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 4,
  context: 64,
  rmsNormEpsilon: 1e-5,
  tiedEmbeddings: true,
  ropeTheta: 1e4,
};
export const base = { fingerprint: "0123456789abcdef", modules: linearModules(config) };

/** An adapter and random A, B, P for it, as an engine would hold them. */
export function makeAdapter(
  options: Partial<AdapterSpec> = {},
  seed = 1,
): { adapter: Adapter; attached: AttachedBasis } {
  const zero = Adapter.create(base, { r: 2, u: 3, ...options });
  const { r: rank, u } = zero.spec;
  let drawn = 0;
  const random = (count: number, scale = 1) =>
    Float32Array.from({ length: count }, () => scale * (2 * randomUniform(seed, "init", drawn++) - 1));
  const adapted = targetedModules(base.modules, zero.spec.targetModules);
  const groups = tieGroups(zero.spec.tying, adapted);
  const modules = adapted.map(({ index, in: inputs, out: outputs }, place) => ({
    module: index,
    group: groups.of[place]!,
    a: random(rank * inputs),
    b: random(outputs * rank, 0.01),
    p: random(u * rank * rank),
  }));
  return {
    adapter: zero.withVector(random(groups.count * u)),
    attached: { modules: base.modules, basis: { rank, u, groups: groups.count, slots: 1, modules } },
  };
}
