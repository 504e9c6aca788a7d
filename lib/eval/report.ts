/** A report in Markdown of what was evaluated, how, and with what result. */
import { markdownTable } from "../markdown.js";
import type { BreakdownRow } from "./breakdown.js";
import type { Evaluation } from "./evaluate.js";
import type { PairedDifference } from "./statistics.js";

/** One data set, with one adapter or with two side by side. */
export interface BenchmarkResult {
  readonly data: string;
  readonly split: string;
  readonly evaluation: Evaluation;
  readonly compared?: { readonly evaluation: Evaluation; readonly difference: PairedDifference } | undefined;
}

export interface EvaluationRun {
  readonly model: string;
  /** null: the base model. */
  readonly adapter: string | null;
  /** What it was compared with; null: nothing. */
  readonly compare: string | null;
  /** Every setting that the completions depend on. */
  readonly sampling: Readonly<Record<string, unknown>>;
  readonly results: readonly BenchmarkResult[];
}

/** Markdown: the settings, a line a data set, and what each says beyond it. */
export function evaluationReport({ model, adapter, compare, sampling, results }: EvaluationRun): string {
  const name = adapter ?? "base model";
  const facts: [string, string][] = [
    ["model", code(model)],
    ["adapter", adapter === null ? "none" : code(adapter)],
    ...(compare === null ? [] : [["compared with", code(compare)] as [string, string]]),
    ...Object.entries(sampling).map(([key, value]): [string, string] => [key, code(JSON.stringify(value))]),
  ];
  const overview = results.flatMap(({ data, split, evaluation, compared }) => [
    overviewRow(`${data} ${split}`, name, evaluation),
    ...(compared ? [overviewRow("", compare ?? "", compared.evaluation)] : []),
  ]);
  return `${[
    "# Evaluation",
    markdownTable(["setting", "value"], facts),
    "## Results",
    "Lenient counts the last answer of a completion where none is boxed or after `####`; ± is one standard error over the problems.",
    markdownTable(["data", "adapter", "problems x samples", "lenient", "strict", "format", "tokens", "cut"], overview),
    ...results.flatMap(details),
  ].join("\n\n")}\n`;
}

function overviewRow(data: string, adapter: string, result: Evaluation): string[] {
  return [
    data,
    code(adapter),
    `${result.problems} x ${result.samples}`,
    percentWithError(result.lenient, result.standardError),
    percent(result.strict),
    percent(result.format),
    result.meanLength.toFixed(1),
    percent(result.truncated),
  ];
}

/** What a data set says beyond its line of the overview. */
function details({ data, split, evaluation, compared }: BenchmarkResult): string[] {
  const parts: string[] = [];
  if (compared) parts.push(`Paired difference: ${differenceText(compared.difference)}.`);
  if (evaluation.passAtK.length > 0) {
    const rows = evaluation.passAtK.map(({ k, strict, lenient }, i) => [
      String(k),
      percent(lenient),
      percent(strict),
      percent(evaluation.majAtK[i]!.lenient),
    ]);
    parts.push(markdownTable(["k", "pass@k", "pass@k strict", "maj@k"], rows));
  }
  for (const [kind, rows] of Object.entries(evaluation.breakdown)) {
    parts.push(markdownTable([kind, "problems", "lenient", "strict"], rows.map(breakdownCells)));
  }
  return parts.length > 0 ? [`## ${data} ${split}`, ...parts] : [];
}

/** Cells of a table: value, problems, lenient with its standard error, strict. */
export function breakdownCells({ value, problems, lenient, strict, standardError }: BreakdownRow): string[] {
  return [value, String(problems), percentWithError(lenient, standardError), percent(strict)];
}

/** +3.10 % (95 % between +0.52 % and +5.68 %; better on 12, worse on 5 of 200 problems) */
export function differenceText({ mean, interval, better, worse, problems }: PairedDifference): string {
  const signed = (share: number) => `${share < 0 ? "-" : "+"}${percent(Math.abs(share))}`;
  const between = interval ? `95 % between ${signed(interval[0])} and ${signed(interval[1])}; ` : "";
  return `${signed(mean)} (${between}better on ${better}, worse on ${worse} of ${problems} problems)`;
}

/** 0.0123 as "1.23 %". */
export function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

/** 0.0123 and 0.001 as "1.23 % ± 0.10 %". */
export function percentWithError(share: number, error: number | null): string {
  return error === null ? percent(share) : `${percent(share)} ± ${percent(error)}`;
}

function code(text: string): string {
  return text === "" ? "" : `\`${text.replaceAll("`", "'")}\``;
}
