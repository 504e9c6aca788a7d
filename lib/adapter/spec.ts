import { TinyLoraError } from "../error.js";
import type { ModuleType, ProjectionSpec } from "../native/addon.js";
import { ADAPTER_KINDS } from "./kinds.js";
import { MODULE_TYPES } from "./modules.js";
import { makeTying, type Tying, tyingText } from "./tying.js";
import { VECTOR_DTYPES, type VectorDtype } from "./vector-dtype.js";

/** Everything that makes an adapter of a base model, but for its v. docs/method.md explains the symbols. */
export interface AdapterSpec {
  readonly kind: AdapterKindName;
  /** Rank of the truncated SVD. */
  readonly r: number;
  /** Numbers in the v of one tie group. */
  readonly u: number;
  readonly tying: Tying;
  /** left: B = U diag(S), A = V^T (the paper); sqrt: B = U diag(sqrt S), A = diag(sqrt S) V^T (PEFT). */
  readonly split: Split;
  readonly projection: { readonly seed: number; readonly distribution: Distribution };
  /** In model order, each once. */
  readonly targetModules: readonly ModuleType[];
  /** How v is kept and saved. */
  readonly dtype: VectorDtype;
}

export type AdapterKindName = (typeof KIND_NAMES)[number];
export type Split = (typeof SPLITS)[number];
export type Distribution = ProjectionSpec["distribution"];

export const KIND_NAMES = ["tinylora", "lora_xs", "lora"] as const;
export const SPLITS = ["left", "sqrt"] as const;
export const DISTRIBUTIONS = ["normal", "uniform", "orthogonal", "unit"] as const satisfies readonly Distribution[];

/** The paper's 13 numbers: every module of the model shares one v. */
const DEFAULT_SPEC: AdapterSpec = {
  kind: "tinylora",
  r: 2,
  u: 13,
  tying: { kind: "all" },
  split: "left",
  projection: { seed: 0, distribution: "normal" },
  targetModules: MODULE_TYPES,
  dtype: "fp32",
};

/** The engine's: z of a row has this many numbers at most. */
export const LARGEST_RANK = 16;

/** Options of an adapter; what is left out or undefined has the kind's default. */
export type AdapterOptions = { readonly [Key in keyof AdapterSpec]?: AdapterSpec[Key] | undefined };

/** A complete, checked spec: `options` over the kind's defaults, targetModules in model order. ERR_ADAPTER. */
export function adapterSpec(options: AdapterOptions = {}): AdapterSpec {
  const name = options.kind ?? DEFAULT_SPEC.kind;
  checkOneOf("kind", name, KIND_NAMES);
  const kind = ADAPTER_KINDS[name];
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const asked: AdapterSpec = { ...DEFAULT_SPEC, ...kind.defaults, ...given };
  checkWhole("r", asked.r, 1, LARGEST_RANK);
  const spec = { ...asked, u: kind.numbersPerGroup(asked) };
  checkWhole("u", spec.u, 1, 4096);
  if (asked.u !== DEFAULT_SPEC.u && asked.u !== spec.u) {
    throw new TinyLoraError("ERR_ADAPTER", `u: expected ${spec.u} for ${name}, found ${asked.u}`);
  }
  checkOneOf("split", spec.split, SPLITS);
  checkWhole("projection seed", spec.projection.seed, 0, Number.MAX_SAFE_INTEGER);
  checkOneOf("projection distribution", spec.projection.distribution, DISTRIBUTIONS);
  if (spec.kind === "lora" && spec.dtype !== "fp32") {
    throw new TinyLoraError("ERR_ADAPTER", `dtype: expected fp32 for A and B of lora, found ${spec.dtype}`);
  }
  if (spec.kind !== "lora" && spec.projection.distribution === "unit" && spec.u !== spec.r ** 2) {
    throw new TinyLoraError(
      "ERR_ADAPTER",
      `u: expected r * r = ${spec.r ** 2} for the unit projection, found ${spec.u}`,
    );
  }
  for (const target of spec.targetModules) checkOneOf("target module", target, MODULE_TYPES);
  if (spec.targetModules.length === 0) {
    throw new TinyLoraError("ERR_ADAPTER", `target modules: expected some of ${MODULE_TYPES.join(", ")}, found none`);
  }
  checkOneOf("dtype of v", spec.dtype, VECTOR_DTYPES);
  const { kind: tying, nTie, ratio }: { kind: Tying["kind"]; nTie?: number; ratio?: number } = spec.tying;
  return {
    ...spec,
    tying: makeTying(tying, nTie, ratio),
    targetModules: MODULE_TYPES.filter((type) => spec.targetModules.includes(type)),
  };
}

function checkOneOf(what: string, value: unknown, allowed: readonly string[]): void {
  if (!allowed.includes(value as string)) {
    throw new TinyLoraError("ERR_ADAPTER", `${what}: expected one of ${allowed.join(", ")}, found ${value}`);
  }
}

function checkWhole(what: string, value: unknown, least: number, most: number): void {
  if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > most) {
    throw new TinyLoraError("ERR_ADAPTER", `${what}: expected a whole number from ${least} to ${most}, found ${value}`);
  }
}

/** In what `found` is another than `wanted`, but for the type of v, in words: "r 4, not 2". */
export function specDifferences(found: AdapterSpec, wanted: AdapterSpec): string[] {
  const described = Object.entries(describe(wanted));
  return Object.entries(describe(found)).flatMap(([name, value], i) => {
    const other = described[i]![1];
    return value === other ? [] : [`${name} ${value}, not ${other}`];
  });
}

function describe({ kind, r, u, tying, split, projection, targetModules }: AdapterSpec) {
  return {
    kind,
    r: String(r),
    u: String(u),
    tying: tyingText(tying),
    split,
    "target modules": targetModules.join(" "),
    projection: projection.distribution,
    "projection seed": String(projection.seed),
  };
}

/** Adapters with equal keys share A, B and the tie groups: they can be used side by side in one batch. */
export function geometryKey({ kind, r, u, tying, split, targetModules }: AdapterSpec): string {
  return [kind, r, u, tyingText(tying), split, ...targetModules].join(" ");
}
