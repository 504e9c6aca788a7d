import { join } from "node:path";
import { TinyLoraError } from "../error.js";
import { writeFileAtomic } from "../files.js";
import { checkOptionNames } from "../option-names.js";
import { ABLATED, ablationFigure } from "./ablation.js";
import { accuracyFigure } from "./accuracy.js";
import { CURVES, curveFigure, readSeries } from "./curves.js";
import { csv, type Figure } from "./figure.js";
import { canDrawText, renderPng, renderSvg } from "./render.js";
import { openSource, type Source, type SweepSource } from "./source.js";

export interface PlotOptions {
  /** Folders of sweeps and of runs. */
  readonly folders: readonly string[];
  /** Folder for NAME.svg, NAME.png and NAME.csv. */
  readonly output: string;
  /** Options that ablations are drawn over; r, u, n_tie, v_dtype and tying, where they vary, when not given. */
  readonly by?: readonly string[] | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/**
 * Draws what the folders hold and returns the paths of the files without their endings.
 *
 * @example await plotFolders({ folders: ["runs/sweep"], output: "runs/sweep/plots" })
 */
export async function plotFolders(options: PlotOptions): Promise<string[]> {
  checkOptionNames("plotFolders", options, { folders: true, output: true, by: true, onWarning: true });
  const { folders, output, by, onWarning = () => {} } = options;
  const sources: Source[] = [];
  for (const folder of folders) sources.push(await openSource(folder));
  const figures = await figuresOf(apart(sources), by, onWarning);
  if (figures.length === 0) {
    throw new TinyLoraError(
      "ERR_DATA",
      `${folders.join(", ")}: nothing to draw yet: no setting of a sweep is finished, and no run has made a step`,
    );
  }
  if (!(await canDrawText())) onWarning("this system has no fonts: the PNG files have no text, the SVG files have");
  const paths: string[] = [];
  for (const figure of figures) paths.push(await writeFigure(join(output, figure.name), figure));
  return paths;
}

async function figuresOf(
  sources: readonly Source[],
  by: readonly string[] | undefined,
  onWarning: (message: string) => void,
): Promise<Figure[]> {
  const sweeps = sources.filter((source): source is SweepSource => source.kind === "sweep");
  const series = await readSeries(sources, onWarning);
  const ablations = (by ?? ABLATED).map((key) => ablationFigure(sweeps, key));
  const missing = by?.find((_, place) => ablations[place]!.rows.length === 0);
  if (missing !== undefined) throw new TinyLoraError("ERR_USAGE", `by: ${missing}: ${notAblated(sweeps)}`);
  const figures = [
    accuracyFigure(sweeps, "parameters"),
    accuracyFigure(sweeps, "bytes"),
    ...ablations,
    ...CURVES.map((curve) => curveFigure(series, curve)),
  ];
  return figures.filter(({ rows }) => rows.length > 0);
}

/** Folders of the same name are called by their paths: one name would be one line. */
function apart(sources: readonly Source[]): Source[] {
  const shared = ({ name }: Source) => sources.filter((other) => other.name === name).length > 1;
  return sources.map((source) => (shared(source) ? { ...source, name: source.folder } : source));
}

/** What can be given in place of a key over which nothing can be drawn. */
function notAblated(sweeps: readonly SweepSource[]): string {
  if (sweeps.length === 0) return "expected the folder of a sweep, found runs alone";
  const keys = sweeps.flatMap(({ results }) => results.settings.flatMap(({ settings }) => Object.keys(settings)));
  const able = [...new Set(keys)].filter((key) => ablationFigure(sweeps, key).rows.length > 0);
  const names = able.length > 0 ? `here ${able.join(", ")}` : "here none yet";
  return `expected an option with two finished values in the sweep: ${names}`;
}

async function writeFigure(path: string, figure: Figure): Promise<string> {
  const svg = await renderSvg(figure);
  await writeFileAtomic(`${path}.csv`, csv(figure.rows));
  await writeFileAtomic(`${path}.svg`, svg);
  await writeFileAtomic(`${path}.png`, await renderPng(svg));
  return path;
}
