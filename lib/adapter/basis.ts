import { TinyLoraError } from "../error.js";
import type { AdapterBasis, LinearModule, SvdFactors } from "../native/addon.js";
import type { AdapterMatrices } from "./file.js";
import { ADAPTER_KINDS } from "./kinds.js";
import { targetedModules } from "./modules.js";
import type { AdapterSpec } from "./spec.js";
import { tieGroups } from "./tying.js";

/**
 * A, B, P and the tie group of every adapted module: the frozen part of adapters. `specs` differ in `projection` alone;
 * the P of all of them follow one another.
 */
export function buildBasis(
  specs: readonly AdapterSpec[],
  modules: readonly LinearModule[],
  factors: readonly SvdFactors[],
  slots: number,
): AdapterBasis {
  const spec = specs[0]!;
  const adapted = targetedModules(modules, spec.targetModules);
  const groups = tieGroups(spec.tying, adapted);
  const byModule = new Map(factors.map((factor) => [factor.module, factor]));
  const kind = ADAPTER_KINDS[spec.kind];
  return {
    rank: spec.r,
    u: spec.u * specs.length,
    groups: groups.count,
    slots,
    modules: adapted.map(({ index }, place) => ({
      module: index,
      group: groups.of[place]!,
      ...splitFactors(byModule.get(index)!, spec),
      p: joined(specs.map((one) => kind.projection(one, index))),
    })),
  };
}

/** The same from a file that brought A, B and P; shapes are checked against the model's. */
export function matricesBasis(
  spec: AdapterSpec,
  modules: readonly LinearModule[],
  matrices: AdapterMatrices,
  slots: number,
): AdapterBasis {
  const adapted = targetedModules(modules, spec.targetModules);
  const groups = tieGroups(spec.tying, adapted);
  const { r: rank, u } = spec;
  return {
    rank,
    u,
    groups: groups.count,
    slots,
    modules: adapted.map(({ index, name, in: inputs, out: outputs }, place) => {
      const own = matrices.get(name);
      if (own?.a.length !== rank * inputs || own.b.length !== outputs * rank || own.p.length !== u * rank * rank) {
        throw new TinyLoraError(
          "ERR_ADAPTER",
          `${name}: the adapter's A, B and P are missing or do not have the model's shapes`,
        );
      }
      return { module: index, group: groups.of[place]!, ...own };
    }),
  };
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let start = 0;
  for (const part of parts) {
    all.set(part, start);
    start += part.length;
  }
  return all;
}

/** left: B = U diag(S), A = V^T; sqrt: the root of S goes to either side. */
function splitFactors({ u, s, vt }: SvdFactors, { r: rank, split }: AdapterSpec): { a: Float32Array; b: Float32Array } {
  const inputs = vt.length / rank;
  const right = split === "left" ? s.map(() => 1) : s.map(Math.sqrt);
  const left = split === "left" ? s : right;
  return {
    a: vt.map((value, i) => value * right[Math.floor(i / inputs)]!),
    b: u.map((value, i) => value * left[i % rank]!),
  };
}

/** An SVD of rank r needs matrices with r rows and columns. */
export function checkRank(spec: AdapterSpec, modules: readonly LinearModule[]): void {
  for (const { name, in: inputs, out: outputs } of targetedModules(modules, spec.targetModules)) {
    if (spec.r > Math.min(inputs, outputs)) {
      throw new TinyLoraError(
        "ERR_ADAPTER",
        `r: expected at most ${Math.min(inputs, outputs)}, the smaller side of ${name} (${outputs} x ${inputs}), found ${spec.r}`,
      );
    }
  }
}
