/** The paper's comparison: of each setting the rate with the best held-out accuracy, averaged over seeds. */
import { estimate } from "../eval/statistics.js";
import { groupBy } from "../group-by.js";
import type { Settings } from "./grid.js";
import type { Candidate, MemberResult, SettingResult } from "./results-file.js";

/** `groups[i]` names the setting that member i belongs to. */
export function bestOfEach(
  members: readonly MemberResult[],
  groups: readonly string[],
  bestOf: readonly string[],
): SettingResult[] {
  return groupBy(members, (_, index) => groups[index]!).map((group) => {
    const candidates = candidatesOf(group, bestOf);
    const known = group.find(({ parameters }) => parameters !== null) ?? group[0]!;
    const bases = group.flatMap(({ base }) => base ?? []);
    return {
      method: known.method,
      settings: without(known.settings, bestOf),
      parameters: known.parameters,
      bytes: known.bytes,
      base: bases.length > 0 ? estimate(bases).mean : null,
      candidates,
      best: best(candidates),
    };
  });
}

function candidatesOf(group: readonly MemberResult[], bestOf: readonly string[]): Candidate[] {
  const values = (member: MemberResult) => only(member.settings, bestOf);
  return groupBy(group, (member) => JSON.stringify(values(member))).map((same) => {
    const accuracies = same.flatMap(({ accuracy }) => accuracy ?? []);
    const { mean, standardError } = estimate(accuracies);
    return {
      values: values(same[0]!),
      accuracies,
      mean: accuracies.length > 0 ? mean : null,
      deviation: standardError === null ? null : standardError * Math.sqrt(accuracies.length),
      complete: accuracies.length === same.length,
      members: same.map(({ name }) => name),
    };
  });
}

/** The first of the best. One that lacks a seed is none: its mean is over other runs. */
function best(candidates: readonly Candidate[]): Candidate | null {
  let found: Candidate | null = null;
  for (const candidate of candidates) {
    if (candidate.complete && (found === null || candidate.mean! > found.mean!)) found = candidate;
  }
  return found;
}

function only(settings: Settings, keys: readonly string[]): Settings {
  return Object.fromEntries(Object.entries(settings).filter(([key]) => keys.includes(key)));
}

function without(settings: Settings, keys: readonly string[]): Settings {
  return Object.fromEntries(Object.entries(settings).filter(([key]) => !keys.includes(key)));
}
