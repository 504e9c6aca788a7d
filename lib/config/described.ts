/** Whether options describe what is trained: config.json is to tell what a run made, and how to make it again. */
import { Adapter } from "../adapter/adapter.js";
import type { FullWeights } from "../adapter/full-weights.js";
import { TinyLoraError } from "../error.js";
import { embeddedFolder } from "../find-model.js";
import { adapterOptions, optionsOf } from "./adapter-options.js";
import { resolveConfig } from "./config.js";
import { EMBEDDED } from "./embedded.js";
import type { TrainConfig, TrainOptions } from "./schema.js";

type Description = Readonly<Record<string, unknown>>;

/**
 * The options of a run that trains `trained` of the model in `path`: both say what the options leave open of them.
 * ERR_CONFIG where options and `trained` say otherwise.
 */
export function describedConfig(
  trained: Adapter | FullWeights,
  path: string | undefined,
  given: TrainOptions,
): TrainConfig {
  const options = { ...optionsOfModel(path), ...given };
  const wanted = descriptionOf(trained);
  const { adapter, r } = resolveConfig({});
  const plain: Description = { ...ofConfig(resolveConfig(kindOf(wanted))), adapter, r };
  const open = Object.entries(wanted).filter(
    ([key, value]) => ((options as Description)[key] ?? null) === null && !same(plain[key], value),
  );
  const config = resolveConfig({ ...options, ...Object.fromEntries(open) });
  const different = differences(trained, config);
  if (different === null) return config;
  throw new TinyLoraError("ERR_CONFIG", `options: they describe another adapter than the one given: ${different}`);
}

/** What an engine's model says of the options: of the embedded one, whose defaults are its own, its name. */
export function optionsOfModel(path: string | undefined): Pick<TrainOptions, "model"> {
  return path === embeddedFolder() ? { model: EMBEDDED } : {};
}

/** How what is trained differs from what the options describe, in words; null where it does not. */
export function differences(trained: Adapter | FullWeights, config: TrainConfig): string | null {
  const [wanted, found] = [descriptionOf(trained), ofConfig(config)];
  const different = Object.entries(wanted).filter(([key, value]) => !same(found[key], value));
  const told = different.map(([key, value]) => `${key}: ${value ?? "none"} (found ${found[key] ?? "none"})`);
  return told.length === 0 ? null : `expected ${told.join(", ")}`;
}

function descriptionOf(trained: Adapter | FullWeights): Description {
  if (trained instanceof Adapter) return optionsOf(trained);
  return { adapter: "full", target_modules: trained.targetModules };
}

function ofConfig(config: TrainConfig): Description {
  const spec = adapterOptions(config);
  if (spec === null) return { adapter: "full", target_modules: config.target_modules };
  return optionsOf({ spec, v: Float32Array.of((spec.loraAlpha ?? spec.r) / spec.r) });
}

/** The kind, with what it cannot be without. */
function kindOf({ adapter, r }: Description): TrainOptions {
  return adapter === "full" ? { adapter } : ({ adapter, r } as TrainOptions);
}

function same(a: unknown, b: unknown): boolean {
  return String(a ?? null) === String(b ?? null);
}
