/** A metric step by step: of runs as they are, of a sweep's settings the best rate's mean and spread over seeds. */
import { join } from "node:path";
import { mean } from "../mean.js";
import { type MetricsLine, readMetrics } from "../run/metrics-file.js";
import type { SettingResult, SweepResults } from "../sweep/results-file.js";
import type { Figure, Layers, Row } from "./figure.js";
import { differing, named, seriesColor } from "./series.js";
import { shareAxis } from "./share-axis.js";
import type { Source } from "./source.js";

interface Curve {
  /** Of the figure. */
  readonly name: string;
  readonly metric: string;
  readonly title: string;
  readonly percent?: true;
}

export const CURVES: readonly Curve[] = [
  { name: "reward", metric: "reward", title: "mean reward" },
  { name: "length", metric: "completions/mean_length", title: "mean length of completions, tokens" },
  { name: "held-out", metric: "eval/lenient", title: "held-out accuracy", percent: true },
];

/** Runs that are drawn as one line. */
interface Series {
  readonly name: string;
  readonly runs: readonly (readonly MetricsLine[])[];
}

/** `warn` is told of a member that the sweep has and whose steps are gone: its setting has no curve then. */
export async function readSeries(sources: readonly Source[], warn: (message: string) => void): Promise<Series[]> {
  const series: Series[] = [];
  for (const source of sources) {
    if (source.kind === "run") series.push({ name: source.name, runs: [await readMetrics(source.folder)] });
    else
      series.push(...(await sweepSeries(source.folder, source.results, sources.length > 1 ? source.name : "", warn)));
  }
  return series;
}

async function sweepSeries(
  folder: string,
  results: SweepResults,
  prefix: string,
  warn: (message: string) => void,
): Promise<Series[]> {
  const series: Series[] = [];
  for (const setting of results.settings) {
    if (!setting.best) continue;
    const runs: MetricsLine[][] = [];
    const name = [prefix, settingName(setting, results)].filter(Boolean).join(" ");
    for (const member of setting.best.members) {
      const steps = await readMetrics(join(folder, "members", member));
      if (steps.length === 0) warn(`${join(folder, "members", member)}: no metrics: ${name} is drawn without curves`);
      runs.push(steps);
    }
    series.push({ name, runs });
  }
  return series;
}

function settingName({ method, settings, best }: SettingResult, results: SweepResults): string {
  const { values } = best!;
  return [method.toUpperCase(), ...named(settings, differing(results)), ...named(values, Object.keys(values))].join(
    " ",
  );
}

export function curveFigure(series: readonly Series[], curve: Curve): Figure {
  const rows = series.flatMap((one) => curveRows(one, curve.metric));
  return {
    name: curve.name,
    title: `${curve.title[0]!.toUpperCase()}${curve.title.slice(1)}`,
    rows,
    layers: layers(curve, rows),
  };
}

/** Steps that all the runs have. */
function curveRows({ name, runs }: Series, metric: string): Row[] {
  const [first = new Map<number, number>(), ...others] = runs.map((lines) => valuesByStep(lines, metric));
  return [...first].flatMap(([step, value]) => {
    const more = others.flatMap((values) => values.get(step) ?? []);
    if (more.length < others.length) return [];
    const values = [value, ...more];
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return [{ series: name, step, mean: mean(values), low, high, runs: values.length }];
  });
}

function valuesByStep(lines: readonly MetricsLine[], metric: string): Map<number, number> {
  return new Map(lines.flatMap(({ step, [metric]: value }) => (value === undefined ? [] : [[step!, value]])));
}

function layers({ title, percent }: Curve, rows: readonly Row[]): Layers {
  const x = { field: "step", type: "quantitative", title: "step" } as const;
  const plain = { type: "quantitative", title, scale: { zero: false } } as const;
  const scale = percent ? shareAxis(title, rows, ["low", "high"]) : plain;
  const color = seriesColor(rows);
  return [
    {
      mark: { type: "area", opacity: 0.15 },
      encoding: { x, y: { field: "low", ...scale }, y2: { field: "high" }, color },
    },
    { mark: { type: "line" }, encoding: { x, y: { field: "mean", ...scale }, color } },
  ];
}
