import { type AdapterSpec, adapterSpec } from "../adapter/spec.js";
import type { Tying } from "../adapter/tying.js";
import type { TrainConfig } from "./schema.js";

/** The adapter that the options describe. */
export function adapterOptions(config: TrainConfig): AdapterSpec {
  return adapterSpec({
    rank: config.r,
    u: config.u,
    tying: tyingOptions(config),
    split: config.split,
    projection: { seed: config.projection_seed, distribution: config.projection },
    targets: config.target_modules,
    dtype: config.v_dtype,
  });
}

/** The schema has seen to it that the number each kind needs is there. */
function tyingOptions({ tying, n_tie, weight_tying }: TrainConfig): Tying {
  if (tying === "tiled" || tying === "structured") return { kind: tying, nTie: n_tie! };
  return tying === "ratio" ? { kind: tying, ratio: weight_tying! } : { kind: tying };
}
