/** What the fused update costs, by counters of the same layer without it and with it. */
import { type Launch, total } from "./launches.js";
import type { LayerCounts, ProductCounts } from "./layer.js";

/** Shares of plain products and of what makes their inputs, attention left out; launches are a number. */
export interface FusionCost {
  readonly instructions: number;
  readonly bytes: number;
  readonly launches: number;
}

/** The attention that makes z of the o product, by pass; the backward pass makes s in a pass of its own. */
const ATTENTION = { forward: "attention", decode: "decodeAttention" } as const;

/** Of all products of the pass, or of those of some modules ("o"). What attention does more is added to that of o. */
export function fusionCost(
  pass: "forward" | "backward" | "decode",
  plain: LayerCounts,
  fused: LayerCounts,
  modules?: string,
): FusionCost {
  const isMeant = (one: ProductCounts) => modules === undefined || one.modules === modules;
  const sum = (of: LayerCounts) => total(of[pass].filter(isMeant).flatMap(withInputs));
  const attention = (of: LayerCounts) => total(pass === "backward" ? [] : of[ATTENTION[pass]]);
  const readsAttention = modules === undefined || modules === "o";
  const [less, more] = [sum(plain), sum(fused)];
  const added = (key: "instructions" | "sectors" | "launches") =>
    more[key] - less[key] + (readsAttention ? attention(fused)[key] - attention(plain)[key] : 0);
  return {
    instructions: added("instructions") / less.instructions,
    bytes: added("sectors") / less.sectors,
    launches: added("launches"),
  };
}

function withInputs({ product, before }: ProductCounts): Launch[] {
  return [...before, product];
}
