import type { TrainConfig } from "./schema.js";

/** How these options say that the engine is to be loaded: options of `Engine.load`. */
export function engineOptions({ dtype, device, threads, max_sequences, cache_tokens }: TrainConfig) {
  return { dtype, device, threads: threads ?? undefined, maxSequences: max_sequences, cacheTokens: cache_tokens };
}
