/** What figures of sweeps have in common: how lines are told apart, by name and colour, and what a point says. */
import type { Candidate, SettingResult, SweepResults } from "../sweep/results-file.js";
import type { Row } from "./figure.js";

/** Colours of a palette: vega's own has ten, which would come twice. */
const FEW = 10;

/** A colour for each series, in the order of the sweep. */
export function seriesColor(rows: readonly Row[]) {
  const domain = [...new Set(rows.flatMap(({ series }) => series ?? []))].map(String);
  const scheme = domain.length > FEW ? "tableau20" : "tableau10";
  return { field: "series", type: "nominal", title: null, scale: { domain, scheme } } as const;
}

/** What a sweep varies and its settings differ in, but for what the best is taken of. */
export function differing({ varied, best_of, settings }: SweepResults): string[] {
  const values = (key: string) => new Set(settings.map((setting) => JSON.stringify(setting.settings[key] ?? null)));
  return varied.filter((key) => key !== "method" && !best_of.includes(key) && values(key).size > 1);
}

/** `key=value` of those keys that the setting has. */
export function named(settings: SettingResult["settings"], keys: readonly string[]): string[] {
  return keys.flatMap((key) => ((settings[key] ?? null) === null ? [] : `${key}=${word(settings[key])}`));
}

/** Accuracy and how far seeds lie apart. */
export function overSeeds({ mean, deviation, accuracies }: Candidate) {
  const [low, high] = [Math.min(...accuracies), Math.max(...accuracies)];
  return { accuracy: mean, low, high, deviation, seeds: accuracies.length };
}

/** Settings as a column each. */
export function words(settings: Readonly<Record<string, unknown>>): Row {
  return Object.fromEntries(Object.entries(settings).map(([key, value]) => [key, word(value)]));
}

export function word(value: unknown): string | number | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "number" || typeof value === "string") return value;
  return JSON.stringify(value);
}
