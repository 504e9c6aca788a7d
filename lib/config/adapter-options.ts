import { type AdapterKindName, type AdapterSpec, adapterSpec } from "../adapter/spec.js";
import type { Tying } from "../adapter/tying.js";
import type { TrainConfig } from "./schema.js";

/** The adapter that the options describe; none where the model's own weights are trained. */
export function adapterOptions(config: TrainConfig): (AdapterSpec & { readonly alpha?: number | undefined }) | null {
  if (config.adapter === "full") return null;
  const kind: AdapterKindName = config.adapter;
  const spec = adapterSpec({
    kind,
    rank: config.r,
    ...(config.u === null ? {} : { u: config.u }),
    ...(config.tying === null ? {} : { tying: tyingOptions(config, config.tying) }),
    split: config.split,
    projection: {
      seed: config.projection_seed,
      distribution: config.projection ?? (kind === "tinylora" ? "normal" : "unit"),
    },
    ...(config.target_modules === null ? {} : { targets: config.target_modules }),
    dtype: config.v_dtype,
  });
  return { ...spec, alpha: config.lora_alpha ?? undefined };
}

/** The schema has seen to it that the number each kind needs is there. */
function tyingOptions({ n_tie, weight_tying }: TrainConfig, tying: Tying["kind"]): Tying {
  if (tying === "tiled" || tying === "structured") return { kind: tying, nTie: n_tie! };
  return tying === "ratio" ? { kind: tying, ratio: weight_tying! } : { kind: tying };
}
