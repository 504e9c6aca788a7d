import type { Adapter } from "../adapter/adapter.js";
import { type AdapterKindName, type AdapterSpec, adapterSpec } from "../adapter/spec.js";
import type { Tying } from "../adapter/tying.js";
import type { TrainConfig } from "./schema.js";

/** The adapter that the options describe; none where the model's own weights are trained. ERR_ADAPTER where it cannot be. */
export function adapterOptions(
  config: TrainConfig,
): (AdapterSpec & { readonly loraAlpha?: number | undefined }) | null {
  if (config.adapter === "full") return null;
  const kind: AdapterKindName = config.adapter;
  const spec = adapterSpec({
    kind,
    r: config.r,
    ...(config.u === null ? {} : { u: config.u }),
    ...(config.tying === null ? {} : { tying: tyingOptions(config, config.tying) }),
    split: config.split,
    projection: {
      seed: config.projection_seed,
      distribution: config.projection ?? (kind === "tinylora" ? "normal" : "unit"),
    },
    ...(config.target_modules === null ? {} : { targetModules: config.target_modules }),
    dtype: config.v_dtype,
  });
  return { ...spec, loraAlpha: config.lora_alpha ?? undefined };
}

/** The schema has seen to it that the number each kind needs is there. */
function tyingOptions({ n_tie, weight_tying }: TrainConfig, tying: Tying["kind"]): Tying {
  if (tying === "tiled" || tying === "structured") return { kind: tying, nTie: n_tie! };
  return tying === "ratio" ? { kind: tying, ratio: weight_tying! } : { kind: tying };
}

/** The options that describe this adapter, but for its numbers: those that mean something for its kind. */
export function optionsOf({ spec, v }: Pick<Adapter, "spec" | "v">): Readonly<Record<string, unknown>> {
  const { kind, r, u, tying, split, projection, targetModules, dtype } = spec;
  const common = { adapter: kind, r, target_modules: targetModules };
  if (kind === "lora") return { ...common, lora_alpha: v[0]! * r };
  const shared = {
    ...common,
    tying: tying.kind,
    ...("nTie" in tying ? { n_tie: tying.nTie } : {}),
    ...("ratio" in tying ? { weight_tying: tying.ratio } : {}),
    split,
    v_dtype: dtype,
  };
  if (kind === "lora_xs") return shared;
  return { ...shared, u, projection: projection.distribution, projection_seed: projection.seed };
}
