import type { TrainConfig } from "../config/schema.js";
import { Engine } from "../engine.js";
import { findModel } from "../find-model.js";

/** Runs with equal keys can use one engine. */
export function engineKey({ model, dtype, device, threads, max_sequences, cache_tokens }: TrainConfig): string {
  return JSON.stringify([findModel(model), dtype, device, threads, max_sequences, cache_tokens]);
}

/** The engine of one member after another, loaded again only where the next one needs another, or a clean one. */
export class KeptEngine {
  #kept: { key: string; engine: Engine } | undefined;

  async get(config: TrainConfig, signal: AbortSignal | undefined): Promise<Engine> {
    const { dtype, device, threads, max_sequences: maxSequences, cache_tokens: cacheTokens } = config;
    const model = findModel(config.model);
    const key = engineKey(config);
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
