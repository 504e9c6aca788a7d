import { Adapter, type AdapterBase } from "../adapter/adapter.js";
import { type FullBase, FullWeights } from "../adapter/full.js";
import { adapterOptions } from "../config/adapter-options.js";
import type { TrainConfig } from "../config/schema.js";
import type { Trained } from "./trainable.js";

/** What the options say is to be trained, as it is at the start. */
export function makeTrained(base: AdapterBase & FullBase, config: TrainConfig): Trained {
  const options = adapterOptions(config);
  return options ? Adapter.create(base, options) : FullWeights.of(base, config.target_modules ?? undefined);
}
