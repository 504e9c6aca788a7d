import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readingIfThere } from "../files.js";

/** A line of metrics.jsonl; what is not a number there (null, `measured`) is left out. */
export type MetricsLine = Readonly<Record<string, number>>;

/** The steps that a run has written, in order; none where it has written nothing yet. */
export async function readMetrics(run: string): Promise<MetricsLine[]> {
  const path = join(run, "metrics.jsonl");
  const text = await readingIfThere(path, () => readFile(path, "utf8"), "");
  const lines = text.split("\n").slice(0, -1); // what follows the last line break is being written
  return lines.flatMap((line) => {
    try {
      const entries = Object.entries(JSON.parse(line) as object);
      return [Object.fromEntries(entries.filter(([, value]) => typeof value === "number")) as MetricsLine];
    } catch {
      return [];
    }
  });
}
