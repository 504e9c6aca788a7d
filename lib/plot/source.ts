import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { TinyLoraError } from "../error.js";
import { readResults, type SweepResults } from "../sweep/results-file.js";

/** What is drawn: the folder of a sweep, or of a run. */
export type Source = SweepSource | { readonly kind: "run"; readonly name: string; readonly folder: string };

export interface SweepSource {
  readonly kind: "sweep";
  readonly name: string;
  readonly folder: string;
  readonly results: SweepResults;
}

export async function openSource(folder: string): Promise<Source> {
  const name = basename(resolve(folder));
  if (existsSync(join(folder, "results.json"))) {
    return { kind: "sweep", name, folder, results: await readResults(folder) };
  }
  if (existsSync(join(folder, "config.json"))) return { kind: "run", name, folder };
  if (/\.(?:ya?ml|json)$/.test(folder)) {
    throw new TinyLoraError(
      "ERR_FILE",
      `${folder}: expected a folder: run \`sweep ${folder}\` first, and plot its folder`,
    );
  }
  throw new TinyLoraError(
    "ERR_FILE",
    `${folder}: expected the folder of a sweep (results.json) or of a run (config.json), found neither`,
  );
}
