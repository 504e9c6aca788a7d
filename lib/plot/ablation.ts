/** Held-out accuracy of the best rate against one option, all others equal along each line. */
import type { SettingResult } from "../sweep/results-file.js";
import type { Figure, Layers, Row } from "./figure.js";
import { differing, named, overSeeds, seriesColor, word, words } from "./series.js";
import { shareAxis } from "./share-axis.js";
import type { SweepSource } from "./source.js";

/** Drawn where a sweep varies them, unless others are asked for. */
export const ABLATED = ["r", "u", "n_tie", "v_dtype", "tying"];

export function ablationFigure(sweeps: readonly SweepSource[], key: string): Figure {
  const rows = sweeps.flatMap((sweep) => ablationRows(sweep, key, sweeps.length > 1 ? sweep.name : ""));
  return { name: `ablation-${key}`, title: `Held-out accuracy and ${key}`, rows, layers: layers(key, rows) };
}

function ablationRows({ results }: SweepSource, key: string, prefix: string): Row[] {
  const told = results.settings.filter(({ settings, best }) => best && (settings[key] ?? null) !== null);
  if (new Set(told.map(({ settings }) => word(settings[key]))).size < 2) return [];
  const others = differing(results).filter((other) => other !== key);
  const series = ({ method, settings }: SettingResult) =>
    [prefix, method.toUpperCase(), ...named(settings, others)].filter(Boolean).join(" ");
  return told.map((setting) => ({
    series: series(setting),
    value: word(setting.settings[key]),
    ...overSeeds(setting.best!),
    parameters: setting.parameters,
    bytes: setting.bytes,
    ...words(setting.settings),
    ...words(setting.best!.values),
  }));
}

/** Numbers by size, words as the sweep names them. */
function order(rows: readonly Row[]): (string | number)[] {
  const values = [...new Set(rows.map(({ value }) => value!))];
  return values.every((value) => typeof value === "number") ? values.sort((a, b) => a - b) : values;
}

function layers(key: string, rows: readonly Row[]): Layers {
  const x = {
    field: "value",
    type: "ordinal",
    sort: order(rows) as string[],
    title: key,
    axis: { labelAngle: 0 },
  } as const;
  const accuracy = shareAxis("accuracy", rows, ["accuracy", "low", "high"]);
  const color = seriesColor(rows);
  const y = { field: "accuracy", ...accuracy } as const;
  return [
    {
      mark: { type: "rule", opacity: 0.5 },
      encoding: { x, y: { field: "low", ...accuracy }, y2: { field: "high" }, color },
    },
    { mark: { type: "line" }, encoding: { x, y, color } },
    { mark: { type: "point", filled: true, size: 50, opacity: 1 }, encoding: { x, y, color } },
  ];
}
