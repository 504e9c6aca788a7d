import { Adapter, type AdapterBase } from "../adapter/adapter.js";
import { type FullBase, FullWeights } from "../adapter/full.js";
import { adapterOptions, optionsOf } from "../config/adapter-options.js";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";

/** What the options say is to be trained, as it is at the start: new, or as `start_from` has it. */
export async function makeTrained(base: AdapterBase & FullBase, config: TrainConfig): Promise<Adapter | FullWeights> {
  const options = adapterOptions(config);
  if (!options) return FullWeights.of(base, config.target_modules ?? undefined);
  const made = Adapter.create(base, options);
  return config.start_from === null ? made : startFrom(config.start_from, base, made);
}

/** The adapter must be what the options describe but for its numbers, so that config.json says what was trained. */
async function startFrom(source: string, base: AdapterBase, described: Adapter): Promise<Adapter> {
  const adapter = await Adapter.load(source);
  adapter.checkBase(base);
  const [wanted, found] = [optionsOf(adapter), optionsOf(described)];
  const different = Object.entries(wanted).filter(([key, value]) => String(found[key]) !== String(value));
  if (different.length === 0) return adapter;
  const told = different.map(([key, value]) => `${key}: ${value} (found ${found[key] ?? "none"})`);
  throw new TinyLoraError(
    "ERR_CONFIG",
    `start_from: ${source} is another adapter than the options: expected ${told.join(", ")}`,
  );
}
