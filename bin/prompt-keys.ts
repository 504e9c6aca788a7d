/** How a problem is put, in evaluation as in training. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type RunInfo, readRunInfo, type TrainConfig } from "../lib/index.js";
import { show } from "../lib/show.js";

export const PROMPT_KEYS = ["prompt_style", "shots", "system", "suffix"] as const;

/** Where a run trained its adapter on problems that were put in another way: then that is measured, too. */
export async function warnOfOtherPrompts(adapter: string, config: TrainConfig): Promise<void> {
  const run = await runOf(adapter);
  if (run === null) return;
  const others = PROMPT_KEYS.filter((key) => run.config[key] !== config[key]);
  const told = others.map((key) => `${key} ${show(run.config[key])}, here ${show(config[key])}`);
  if (told.length > 0) console.error(`warning: ${adapter} was trained with ${told.join("; ")}`);
}

/** Of the run's folder, its adapter/ or one of its checkpoints/; null of a string or another folder, which do not say. */
async function runOf(adapter: string): Promise<RunInfo | null> {
  if (!existsSync(adapter)) return null;
  for (const folder of [adapter, join(adapter, ".."), join(adapter, "..", "..")]) {
    const run = await readRunInfo(folder).catch(() => null);
    if (run !== null) return run;
  }
  return null;
}
