// How config.json describes the rotary embedding.

import { isObject } from "../is-object.js";
import type { ModelConfig, RopeScaling } from "../native/model-source.js";
import { Fields } from "./fields.js";
import { yarnAttentionFactor } from "./yarn-rope.js";

type Rope = Pick<ModelConfig, "ropeTheta" | "ropeScaling">;

/** transformers 4: rope_theta and rope_scaling; 5: both in rope_parameters. */
export function huggingFaceRope(config: Fields, context: number): Rope {
  const scaling = ropeFields(config);
  const ropeTheta = (scaling.has("rope_theta") ? scaling : config).positive("rope_theta", 10000);
  for (const fields of [config, scaling]) {
    if (fields.positive("partial_rotary_factor", 1) !== 1) fields.fail("partial_rotary_factor", "1");
  }
  const key = scaling.has("rope_type") ? "rope_type" : "type";
  switch (scaling.text(key, "default")) {
    case "default":
      for (const nested of ["full_attention", "sliding_attention"]) {
        if (scaling.has(nested)) scaling.fail(nested, "one form of rope for all layers");
      }
      return { ropeTheta };
    case "dynamic":
      // Scales only what lies beyond max_position_embeddings, and the engine's context ends there.
      return { ropeTheta };
    case "linear":
      return { ropeTheta, ropeScaling: { type: "linear", factor: scaling.positive("factor") } };
    case "llama3":
      return {
        ropeTheta,
        ropeScaling: {
          type: "llama3",
          factor: scaling.positive("factor"),
          lowFreqFactor: scaling.positive("low_freq_factor"),
          highFreqFactor: scaling.positive("high_freq_factor"),
          originalContext: originalContext(config, scaling, context),
        },
      };
    case "yarn":
      return { ropeTheta, ropeScaling: yarn(scaling, originalContext(config, scaling, context), context) };
    default:
      return scaling.fail(key, '"default", "dynamic", "linear", "llama3" or "yarn"');
  }
}

/** Where a config has both spellings, transformers reads the old one, unless it is empty. */
function ropeFields(config: Fields): Fields {
  const filled = (key: string) => {
    const value = config.get(key);
    return config.has(key) && !(isObject(value) && Object.keys(value).length === 0);
  };
  const key = ["rope_scaling", "rope_parameters"].find(filled);
  return key === undefined ? new Fields(config.place, {}) : config.object(key);
}

/** Beside the rope's own keys it counts for more than among them. */
function originalContext(config: Fields, scaling: Fields, context: number): number {
  const key = "original_max_position_embeddings";
  return (config.has(key) ? config : scaling).count(key, context);
}

function yarn(scaling: Fields, original: number, context: number): RopeScaling {
  const factor = scaling.positive("factor", context / original);
  return {
    type: "yarn",
    factor,
    originalContext: original,
    betaFast: scaling.notNegative("beta_fast", 0) || 32,
    betaSlow: scaling.notNegative("beta_slow", 0) || 1,
    truncate: scaling.flag("truncate", true),
    attentionFactor: scaling.positive("attention_factor", computedAttentionFactor(scaling, factor)),
  };
}

function computedAttentionFactor(scaling: Fields, factor: number): number {
  const [mscale, all] = [scaling.notNegative("mscale", 0), scaling.notNegative("mscale_all_dim", 0)];
  if (mscale === 0 || all === 0) return yarnAttentionFactor(factor);
  return yarnAttentionFactor(factor, mscale) / yarnAttentionFactor(factor, all);
}
