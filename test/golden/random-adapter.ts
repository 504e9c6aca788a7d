/** Adapters of every kind for the small models, far from zero: every number is a function of its place. */
import { Adapter, type AdapterBase } from "../../lib/adapter/adapter.js";
import type { AdapterMatrices } from "../../lib/adapter/file.js";
import { targetedModules } from "../../lib/adapter/modules.js";
import type { AdapterSpec } from "../../lib/adapter/spec.js";
import { randomUniform } from "../../lib/philox.js";

const KINDS: Readonly<Record<AdapterSpec["kind"], Partial<AdapterSpec>>> = {
  tinylora: { r: 2, u: 5, tying: { kind: "none" } },
  lora_xs: { kind: "lora_xs", r: 3 },
  lora: { kind: "lora", r: 4 },
};
export const KIND_NAMES = Object.keys(KINDS) as AdapterSpec["kind"][];

/** A and B are given too, so that no SVD decides about the bits. `scale`: 1 moves log-probabilities by nats. */
export function randomAdapter(base: AdapterBase, kind: AdapterSpec["kind"], scale = 1): Adapter {
  const adapter = Adapter.create(base, KINDS[kind]);
  const { r: rank, u } = adapter.spec;
  let stream = 0;
  const numbers = (count: number, scale: number) => {
    const own = stream++;
    return Float32Array.from({ length: count }, (_, i) => scale * (2 * randomUniform(9, "init", own, i) - 1));
  };
  const matrices: AdapterMatrices = new Map(
    targetedModules(base.modules, adapter.spec.targetModules).map(({ name, in: inputs, out }) => [
      name,
      {
        a: numbers(rank * inputs, 0.3),
        b: numbers(out * rank, 0.3),
        p: kind === "tinylora" ? numbers(u * rank * rank, 1) : unit(u, rank),
      },
    ]),
  );
  return adapter.withVector(kind === "lora" ? [1.5 * scale] : numbers(adapter.v.length, 0.7 * scale)).withMatrices(matrices);
}

/** The identity for lora (u = 1), the r * r unit matrices for lora_xs. */
function unit(u: number, rank: number): Float32Array {
  return Float32Array.from({ length: u * rank * rank }, (_, at) => {
    const [i, place] = [Math.floor(at / rank ** 2), at % rank ** 2];
    return u === 1 ? Number(place % (rank + 1) === 0) : Number(place === i);
  });
}
