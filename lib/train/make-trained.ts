import { Adapter, type AdapterBase } from "../adapter/adapter.js";
import { type FullBase, FullWeights } from "../adapter/full-weights.js";
import { adapterOptions } from "../config/adapter-options.js";
import { differences } from "../config/described.js";
import type { TrainConfig } from "../config/schema.js";
import { TinyLoraError } from "../error.js";

/** What the options say is to be trained, as it is at the start: new, or as `start_from` has it. */
export async function makeTrained(base: AdapterBase & FullBase, config: TrainConfig): Promise<Adapter | FullWeights> {
  const options = adapterOptions(config);
  if (!options) return FullWeights.of(base, config.target_modules ?? undefined);
  const made = Adapter.create(base, options);
  return config.start_from === null ? made : startFrom(config.start_from, base, config);
}

/** The adapter must be what the options describe but for its numbers, so that config.json says what was trained. */
async function startFrom(source: string, base: AdapterBase, config: TrainConfig): Promise<Adapter> {
  const adapter = await Adapter.load(source);
  adapter.checkBase(base);
  const different = differences(adapter, config);
  if (different === null) return adapter;
  throw new TinyLoraError("ERR_CONFIG", `start_from: ${source} is another adapter than the options: ${different}`);
}
