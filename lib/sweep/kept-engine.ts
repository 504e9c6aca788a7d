import { engineOptions } from "../config/engine-options.js";
import type { TrainConfig } from "../config/schema.js";
import { Engine } from "../engine.js";
import { findModel } from "../find-model.js";
import type { OnProgress } from "../native/session.js";

/** Runs with equal keys can use one engine. */
export function engineKey(config: TrainConfig): string {
  return JSON.stringify([findModel(config.model), engineOptions(config)]);
}

/** The engine of one member after another, loaded again only where the next one needs another, or a clean one. */
export class KeptEngine {
  #kept: { key: string; engine: Engine } | undefined;

  /** `onProgress` hears of bytes, where one is loaded. */
  async get(config: TrainConfig, onProgress: OnProgress, signal: AbortSignal | undefined): Promise<Engine> {
    const key = engineKey(config);
    if (this.#kept?.key === key) return this.#kept.engine;
    this.drop();
    const engine = await Engine.load(findModel(config.model), { ...engineOptions(config), onProgress, signal });
    this.#kept = { key, engine };
    return engine;
  }

  /** After a run that failed, or that trained weights in the engine's own memory. */
  drop(): void {
    this.#kept?.engine.dispose();
    this.#kept = undefined;
  }
}
