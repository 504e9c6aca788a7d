import { TinyLoraError } from "../error.js";
import type { LinearModule } from "../native/addon.js";
import { roundHalfEven } from "./round-half-even.js";

/**
 * Which modules share one v.
 *   none        every module has its own
 *   structured  `nTie` neighbouring layers share the v of a module type
 *   tiled       runs of `nTie` modules in model order share one, whatever their type
 *   all         one v for the model
 *   ratio       PEFT's `weight_tying`: round(modules * (1 - ratio)) runs in model order, the last takes the remainder
 */
export type Tying =
  | { readonly kind: "none" }
  | { readonly kind: "structured"; readonly nTie: number }
  | { readonly kind: "tiled"; readonly nTie: number }
  | { readonly kind: "all" }
  | { readonly kind: "ratio"; readonly ratio: number };

export const TYING_KINDS = ["none", "structured", "tiled", "all", "ratio"] as const;

interface TieGroups {
  readonly count: number;
  /** The group of each given module, in their order. */
  readonly of: readonly number[];
}

/** `modules` are the adapted ones in model order. */
export function tieGroups(tying: Tying, modules: readonly LinearModule[]): TieGroups {
  switch (tying.kind) {
    case "none":
      return { count: modules.length, of: modules.map((_, place) => place) };
    case "all":
      return { count: 1, of: modules.map(() => 0) };
    case "tiled":
      return {
        count: Math.ceil(modules.length / tying.nTie),
        of: modules.map((_, place) => Math.floor(place / tying.nTie)),
      };
    case "structured":
      return structuredGroups(tying.nTie, modules);
    case "ratio":
      return ratioGroups(tying.ratio, modules.length);
  }
}

/** Groups are numbered in the order in which model order first meets them. */
function structuredGroups(nTie: number, modules: readonly LinearModule[]): TieGroups {
  const numbers = new Map<string, number>();
  const of = modules.map(({ layer, type }) => {
    const key = `${Math.floor(layer / nTie)} ${type}`;
    if (!numbers.has(key)) numbers.set(key, numbers.size);
    return numbers.get(key)!;
  });
  return { count: numbers.size, of };
}

function ratioGroups(ratio: number, modules: number): TieGroups {
  const count = Math.max(1, roundHalfEven(modules * (1 - ratio)));
  const size = Math.max(1, Math.floor(modules / count));
  return { count, of: Array.from({ length: modules }, (_, place) => Math.min(Math.floor(place / size), count - 1)) };
}

/** Checked; `nTie` belongs to structured and tiled, `ratio` to ratio. */
export function makeTying(kind: Tying["kind"], nTie?: number, ratio?: number): Tying {
  switch (kind) {
    case "none":
    case "all":
      return { kind };
    case "structured":
    case "tiled":
      if (nTie === undefined || !Number.isSafeInteger(nTie) || nTie < 1) {
        throw new TinyLoraError(
          "ERR_ADAPTER",
          `n_tie: expected a whole number from 1 for ${kind} tying, found ${nTie}`,
        );
      }
      return { kind, nTie };
    case "ratio":
      if (ratio === undefined || !(ratio >= 0 && ratio <= 1)) {
        throw new TinyLoraError("ERR_ADAPTER", `weight_tying: expected 0 to 1, found ${ratio}`);
      }
      return { kind, ratio };
    default:
      throw new TinyLoraError("ERR_ADAPTER", `tying: expected one of ${TYING_KINDS.join(", ")}, found ${kind}`);
  }
}

/** "all", "tiled 14", "ratio 0.9". */
export function tyingText(tying: Tying): string {
  if (tying.kind === "ratio") return `ratio ${tying.ratio}`;
  return "nTie" in tying ? `${tying.kind} ${tying.nTie}` : tying.kind;
}
