import type { LinearModule, ModuleType } from "../native/addon.js";
import { ADAPTER_KINDS } from "./kinds.js";
import { MODULE_TYPES, targetedModules } from "./modules.js";
import type { AdapterSpec } from "./spec.js";
import { tieGroups } from "./tying.js";
import { bytesOf } from "./vector-dtype.js";

export interface ParameterTable {
  /** One row a targeted module type. */
  readonly rows: readonly ParameterRow[];
  readonly modules: number;
  readonly groups: number;
  /** Numbers in v: groups * u. */
  readonly vector: number;
  /** Numbers that are trained: those of v, or of A and B. */
  readonly trained: number;
  /** What is trained on disk, in its dtype. */
  readonly bytes: number;
  /** Numbers of A, B and P that are not trained. */
  readonly frozen: number;
  /** Numbers of the adapted weights. */
  readonly adapted: number;
}

export interface ParameterRow {
  readonly type: ModuleType;
  readonly modules: number;
  readonly out: number;
  readonly in: number;
  /** Tie groups that some module of this type uses. */
  readonly groups: number;
  readonly frozen: number;
}

/** Numbers in v: those of a group, for each group. */
export function vectorLength(spec: AdapterSpec, modules: readonly LinearModule[]): number {
  return tieGroups(spec.tying, targetedModules(modules, spec.targetModules)).count * spec.u;
}

/** Needs the shapes only (`linearModules`), no weights. */
export function parameterTable(spec: AdapterSpec, modules: readonly LinearModule[]): ParameterTable {
  const adapted = targetedModules(modules, spec.targetModules);
  const groups = tieGroups(spec.tying, adapted);
  const { matrices } = ADAPTER_KINDS[spec.kind];
  const factors = (module: LinearModule) => spec.r * (module.in + module.out);
  const frozen = (module: LinearModule) => (matrices ? 0 : factors(module) + spec.u * spec.r ** 2);
  const rows = MODULE_TYPES.flatMap((type) => {
    const ofType = adapted.filter((module) => module.type === type);
    const first = ofType[0];
    if (!first) return [];
    const used = new Set(adapted.flatMap((module, place) => (module.type === type ? [groups.of[place]] : [])));
    return [
      { type, modules: ofType.length, out: first.out, in: first.in, groups: used.size, frozen: sum(ofType, frozen) },
    ];
  });
  const vector = groups.count * spec.u;
  const trained = matrices ? sum(adapted, factors) : vector;
  return {
    rows,
    modules: adapted.length,
    groups: groups.count,
    vector,
    trained,
    bytes: trained * bytesOf(spec.dtype),
    frozen: sum(adapted, frozen),
    adapted: sum(adapted, (module) => module.in * module.out),
  };
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
