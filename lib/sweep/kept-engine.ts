import type { TrainConfig } from "../config/schema.js";
import { Engine } from "../engine.js";
import { findModel } from "../find-model.js";

/** The engine of one member after another, loaded again only where the next one needs another, or a clean one. */
export class KeptEngine {
  #kept: { key: string; engine: Engine } | undefined;

  async get(config: TrainConfig, signal: AbortSignal | undefined): Promise<Engine> {
    const { dtype, device, threads, max_sequences: maxSequences, cache_tokens: cacheTokens } = config;
    const model = findModel(config.model);
    const key = JSON.stringify([model, dtype, device, threads, maxSequences, cacheTokens]);
    if (this.#kept?.key === key) return this.#kept.engine;
    this.drop();
    const options = { dtype, device, threads: threads ?? undefined, maxSequences, cacheTokens, signal };
    this.#kept = { key, engine: await Engine.load(model, options) };
    return this.#kept.engine;
  }

  /** After a run that failed, or that trained weights in the engine's own memory. */
  drop(): void {
    this.#kept?.engine.dispose();
    this.#kept = undefined;
  }
}
