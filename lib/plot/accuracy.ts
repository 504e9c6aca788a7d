/**
 * The paper's main figure: held-out accuracy of the best rate against what is trained, on a logarithmic axis. A point is
 * a setting, its bar runs from the worst seed to the best, and the line follows the best setting of each size. The base
 * model and full fine-tuning are horizontal lines. Models, data sets and ways of asking have lines of their own.
 */
import { groupBy } from "../group-by.js";
import { mean } from "../mean.js";
import type { SettingResult } from "../sweep/results-file.js";
import type { Figure, Layers, Row } from "./figure.js";
import { differing, named, overSeeds, seriesColor, words } from "./series.js";
import { shareAxis } from "./share-axis.js";
import type { SweepSource } from "./source.js";

type SizeKey = "parameters" | "bytes";

const TITLES: Record<SizeKey, string> = { parameters: "trainable parameters", bytes: "bytes of what is trained" };

/** What the accuracy of the model before training depends on, too. */
const PROBLEMS = [
  ...["model", "dtype", "start_from", "data", "eval_data", "eval_examples"],
  ...["prompt_style", "shots", "system", "suffix", "max_completion_length", "stop"],
];

export function accuracyFigure(sweeps: readonly SweepSource[], size: SizeKey): Figure {
  const rows = sweeps.flatMap((sweep) => {
    const prefix = sweeps.length > 1 ? `${sweep.name}: ` : "";
    return [...points(sweep, prefix, size), ...references(sweep, prefix)];
  });
  return {
    name: size === "parameters" ? "accuracy" : "accuracy-bytes",
    title: `Held-out accuracy and ${TITLES[size]}`,
    rows,
    layers: layers(size, rows),
  };
}

function problemsOf(results: SweepSource["results"]): string[] {
  return differing(results).filter((key) => PROBLEMS.includes(key));
}

function points({ results }: SweepSource, prefix: string, size: SizeKey): Row[] {
  const adapters = results.settings.filter(({ settings, best }) => settings.adapter !== "full" && best);
  const dtypes = new Set(adapters.map(({ settings }) => settings.v_dtype));
  const apart = problemsOf(results);
  const series = ({ method, settings }: SettingResult) => {
    const dtype = size === "bytes" && dtypes.size > 1 ? [settings.v_dtype] : [];
    return `${prefix}${[method.toUpperCase(), ...dtype, ...named(settings, apart)].join(" ")}`;
  };
  const leads = (setting: SettingResult) =>
    !adapters.some(
      (other) =>
        series(other) === series(setting) && other[size] === setting[size] && other.best!.mean! > setting.best!.mean!,
    );
  return adapters.map((setting) => ({
    kind: "setting",
    series: series(setting),
    parameters: setting.parameters,
    bytes: setting.bytes,
    ...overSeeds(setting.best!),
    leads: Number(leads(setting)),
    ...words(setting.settings),
    ...words(setting.best!.values),
  }));
}

function references({ results }: SweepSource, prefix: string): Row[] {
  if (!results.settings.some(({ best }) => best)) return [];
  const apart = problemsOf(results);
  const of = ({ settings }: SettingResult, what: string) => `${prefix}${[what, ...named(settings, apart)].join(", ")}`;
  const bases = groupBy(
    results.settings.filter(({ base }) => base !== null),
    (setting) => of(setting, "base model"),
  );
  const full = results.settings.filter(({ settings, best }) => settings.adapter === "full" && best);
  return [
    ...bases.map((same) => ({
      kind: "reference",
      reference: of(same[0]!, "base model"),
      accuracy: mean(same.map(({ base }) => base!)),
    })),
    ...full.map((setting) => ({
      kind: "reference",
      reference: of(setting, `full fine-tuning, ${setting.method.toUpperCase()}`),
      parameters: setting.parameters,
      bytes: setting.bytes,
      accuracy: setting.best!.mean,
      seeds: setting.best!.accuracies.length,
      ...words(setting.best!.values),
    })),
  ];
}

function layers(size: SizeKey, rows: readonly Row[]): Layers {
  const x = { field: size, type: "quantitative", scale: { type: "log" }, title: TITLES[size] } as const;
  const accuracy = shareAxis("accuracy", rows, ["accuracy", "low", "high"]);
  const y = { field: "accuracy", ...accuracy } as const;
  const color = seriesColor(rows);
  const settings = { filter: "datum.kind == 'setting'" };
  return [
    {
      transform: [{ filter: "datum.kind == 'reference'" }],
      mark: { type: "rule", color: "#555", strokeWidth: 1.5 },
      encoding: { y, strokeDash: { field: "reference", type: "nominal", title: null } },
    },
    {
      transform: [settings],
      mark: { type: "rule", opacity: 0.5 },
      encoding: { x, y: { field: "low", ...accuracy }, y2: { field: "high" }, color },
    },
    {
      transform: [settings, { filter: "datum.leads == 1" }],
      mark: { type: "line" },
      encoding: { x, y, color },
    },
    { transform: [settings], mark: { type: "point", filled: true, size: 50, opacity: 1 }, encoding: { x, y, color } },
  ];
}
