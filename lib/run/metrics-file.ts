import { join } from "node:path";
import { wholeLines } from "./lines.js";

export const METRICS_FILE = "metrics.jsonl";

/** A line of metrics.jsonl; what is not a number there (null, `measured`) is left out. */
export type MetricsLine = Readonly<Record<string, number>>;

/** The steps that a run has written, in order; none where it has written nothing yet. */
export async function readMetrics(run: string): Promise<MetricsLine[]> {
  const metrics: MetricsLine[] = [];
  for await (const line of wholeLines(join(run, METRICS_FILE))) {
    try {
      const entries = Object.entries(JSON.parse(line) as object);
      metrics.push(Object.fromEntries(entries.filter(([, value]) => typeof value === "number")));
    } catch {} // damaged since
  }
  return metrics;
}
