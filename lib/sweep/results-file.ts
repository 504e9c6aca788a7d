import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { METHODS } from "../config/method.js";
import { TinyLoraError } from "../error.js";
import { writeFileAtomic } from "../files.js";
import { resultsTable } from "./results-table.js";

/** Raised when results of an older package could not be read as they are any more. */
export const FORMAT = 1;

const settings = z.record(z.string(), z.unknown());

const memberSchema = z.object({
  name: z.string(),
  method: z.enum(METHODS),
  /** The adapter's options and those of the grid, resolved. */
  settings,
  seed: z.number(),
  status: z.enum(["finished", "failed", "interrupted", "waiting"]),
  /** Steps done. */
  step: z.number(),
  parameters: z.number().nullable(),
  bytes: z.number().nullable(),
  /** Of the model before training. */
  base: z.number().nullable(),
  /** After the last step; null until then. */
  accuracy: z.number().nullable(),
  error: z.string().optional(),
});

/** One value of what the best is taken of, over seeds. */
const candidateSchema = z.object({
  values: settings,
  accuracies: z.array(z.number()),
  mean: z.number().nullable(),
  /** Standard deviation over seeds; null with fewer than two. */
  deviation: z.number().nullable(),
  /** All its seeds are finished: only then can it be the best. */
  complete: z.boolean(),
  members: z.array(z.string()),
});

const settingSchema = z.object({
  method: z.enum(METHODS),
  settings,
  parameters: z.number().nullable(),
  bytes: z.number().nullable(),
  base: z.number().nullable(),
  candidates: z.array(candidateSchema),
  best: candidateSchema.nullable(),
});

const resultsSchema = z.object({
  format: z.literal(FORMAT),
  source: z.string(),
  metric: z.string(),
  best_of: z.array(z.string()),
  /** Keys that the grid varies. */
  varied: z.array(z.string()),
  settings: z.array(settingSchema),
  members: z.array(memberSchema),
});

export type MemberResult = z.infer<typeof memberSchema>;
export type Candidate = z.infer<typeof candidateSchema>;
export type SettingResult = z.infer<typeof settingSchema>;
export type SweepResults = z.infer<typeof resultsSchema>;

export async function writeResults(folder: string, results: SweepResults): Promise<void> {
  await writeFileAtomic(join(folder, "results.json"), `${JSON.stringify(results, null, 2)}\n`);
  await writeFileAtomic(join(folder, "results.md"), resultsTable(results));
}

/** What results.json of a sweep's folder says. ERR_FILE where there is none. */
export async function readResults(folder: string): Promise<SweepResults> {
  const path = join(folder, "results.json");
  try {
    return resultsSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    throw new TinyLoraError("ERR_FILE", `${path}: not the results of a sweep (format ${FORMAT})`, { cause });
  }
}
