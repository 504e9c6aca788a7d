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
  /** Numbers that are trained: groups * u. */
  readonly trained: number;
  /** v on disk, in its dtype. */
  readonly bytes: number;
  /** Numbers of A, B and P, all frozen. */
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

/** Needs the shapes only (`linearModules`), no weights. */
export function parameterTable(spec: AdapterSpec, modules: readonly LinearModule[]): ParameterTable {
  const adapted = targetedModules(modules, spec.targets);
  const groups = tieGroups(spec.tying, adapted);
  const numbers = ADAPTER_KINDS[spec.kind].numbersPerGroup(spec);
  const frozen = (module: LinearModule) => spec.rank * (module.in + module.out + numbers * spec.rank);
  const rows = MODULE_TYPES.flatMap((type) => {
    const ofType = adapted.filter((module) => module.type === type);
    const first = ofType[0];
    if (!first) return [];
    const used = new Set(adapted.flatMap((module, place) => (module.type === type ? [groups.of[place]] : [])));
    return [
      { type, modules: ofType.length, out: first.out, in: first.in, groups: used.size, frozen: sum(ofType, frozen) },
    ];
  });
  const trained = groups.count * numbers;
  return {
    rows,
    modules: adapted.length,
    groups: groups.count,
    trained,
    bytes: trained * bytesOf(spec.dtype),
    frozen: sum(adapted, frozen),
    adapted: sum(adapted, (module) => module.in * module.out),
  };
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0);
}
