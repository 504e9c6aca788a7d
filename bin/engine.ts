import { engineOptions } from "../lib/config/engine-options.js";
import { Adapter, Engine, findModel, type TrainConfig } from "../lib/index.js";
import { Progress } from "./progress.js";

/** Schema keys that say which model is loaded, and how. */
export const ENGINE_KEYS = ["model", "dtype", "device", "threads"];
/** The same of commands that sample. */
export const SAMPLER_KEYS = [...ENGINE_KEYS, "max_sequences", "cache_tokens"];

export const ADAPTER_FLAG = "--adapter <adapter>";
export const ADAPTER_HELP = "folder, file or run that holds an adapter, or its short string (tl1-...)";

export async function loadAdapter(source: string | undefined): Promise<Adapter | undefined> {
  return source === undefined ? undefined : Adapter.load(source);
}

/** The engine that the options describe, with progress on the terminal. */
export async function loadEngine(config: TrainConfig, signal: AbortSignal): Promise<Engine> {
  const progress = new Progress("loading", "B");
  try {
    return await Engine.load(findModel(config.model), {
      ...engineOptions(config),
      onProgress: progress.update,
      signal,
    });
  } finally {
    progress.stop();
  }
}

export async function attachAdapter(engine: Engine, adapter: Adapter, signal: AbortSignal): Promise<void> {
  const progress = new Progress("SVD", " modules");
  try {
    await engine.attach(adapter, { onProgress: progress.update, signal });
  } finally {
    progress.stop();
  }
}

/** Loads an engine, attaches the adapter if there is one, and frees both at the end. */
export async function withEngine<T>(
  config: TrainConfig,
  adapter: Adapter | undefined,
  signal: AbortSignal,
  run: (engine: Engine) => Promise<T>,
): Promise<T> {
  const engine = await loadEngine(config, signal);
  try {
    if (adapter) await attachAdapter(engine, adapter, signal);
    return await run(engine);
  } finally {
    engine.dispose();
  }
}
