import {
  breakdownCells,
  differenceText,
  type Evaluation,
  type EvaluationRun,
  percent,
  percentWithError,
} from "../lib/index.js";
import { table } from "./io.js";

/** A table for each data set, with a column of its own for what is compared, and those of levels and subjects. */
export function printEvaluation({ adapter, compare, results }: EvaluationRun): void {
  for (const { data, split, evaluation, compared } of results) {
    const columns = compared ? [evaluation, compared.evaluation] : [evaluation];
    const row = (name: string, cell: (result: Evaluation) => string) => [name, ...columns.map(cell)];
    const rows = [
      ...(compared ? [["adapter", short(adapter ?? "base"), short(compare ?? "base")]] : []),
      row("problems x samples", ({ problems, samples }) => `${problems} x ${samples}`),
      row("strict", ({ strict }) => percent(strict)),
      row("lenient", ({ lenient, standardError }) => percentWithError(lenient, standardError)),
      row("format", ({ format }) => percent(format)),
      ...evaluation.passAtK.map(({ k }, i) => row(`pass@${k}`, ({ passAtK }) => passText(passAtK[i]!))),
      ...evaluation.majAtK.map(({ k }, i) => row(`maj@${k}`, ({ majAtK }) => percent(majAtK[i]!.lenient))),
      row("mean length", ({ meanLength, truncated }) => `${meanLength.toFixed(1)} tokens, ${percent(truncated)} cut`),
      row("time", ({ seconds, tokens }) => `${seconds.toFixed(1)} s, ${(tokens / seconds).toFixed(0)} tokens/s`),
    ];
    process.stdout.write(table([data, split, ...(compared ? ["compared"] : [])], rows));
    if (compared) console.log(`difference  ${differenceText(compared.difference)}`);
    for (const [kind, groups] of Object.entries(evaluation.breakdown)) {
      process.stdout.write(`\n${table([kind, "problems", "lenient", "strict"], groups.map(breakdownCells))}`);
    }
    if (results.length > 1) console.log();
  }
}

function passText({ strict, lenient }: { strict: number; lenient: number }): string {
  return `${percent(strict)} strict, ${percent(lenient)} lenient`;
}

/** A short string in a table is its head. */
function short(name: string): string {
  return name.length > 30 ? `${name.slice(0, 27)}...` : name;
}
