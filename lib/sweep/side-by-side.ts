import { MOST_NUMBERS } from "../adapter/projections.js";
import { geometryKey } from "../adapter/spec.js";
import { adapterOptions } from "../config/adapter-options.js";
import { groupBy } from "../group-by.js";
import { engineKey } from "./kept-engine.js";
import type { Member } from "./member.js";

/**
 * Members that can be trained side by side, together: they train v, on the same engine, of adapters that share U, S, V
 * and the tie groups, and start from the same adapter if from any. All else may differ. The rest of the members, and
 * those of evolution strategies, which fill the slots themselves, are groups of one.
 */
export function sideBySide(members: readonly Member[]): Member[][] {
  return groupBy(members, ({ name, config }) => {
    const adapter = adapterOptions(config);
    if (!adapter || adapter.kind === "lora" || config.estimator === "evolution_strategies") return name;
    return JSON.stringify([engineKey(config), geometryKey(adapter), config.start_from]);
  }).flatMap(inReach);
}

/** Parts of a group, each with as many projections as one basis holds. */
function inReach(group: readonly Member[]): Member[][] {
  const parts: Member[][] = [];
  let projections = new Set<string>();
  for (const member of group) {
    const adapter = adapterOptions(member.config);
    const projection = JSON.stringify(adapter?.projection);
    const numbers = (projections.size + 1) * (adapter?.u ?? 0);
    if (parts.length === 0 || (!projections.has(projection) && numbers > MOST_NUMBERS)) {
      parts.push([]);
      projections = new Set();
    }
    projections.add(projection);
    parts.at(-1)!.push(member);
  }
  return parts;
}
