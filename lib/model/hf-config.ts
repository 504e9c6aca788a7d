// config.json of transformers 4 and 5 to our ModelConfig. What the engine does not compute is refused, never ignored.
import type { ModelConfig } from "../native/addon.js";
import { type Fields, lookup } from "./fields.js";
import { huggingFaceRope } from "./hf-rope.js";
import { LARGEST } from "./largest.js";

const FAMILIES: Readonly<Record<string, ModelConfig["family"]>> = {
  LlamaForCausalLM: "llama",
  Qwen2ForCausalLM: "qwen2",
  Qwen3ForCausalLM: "qwen3",
};

export function huggingFaceConfig(config: Fields): ModelConfig {
  const family = familyOf(config);
  const hidden = config.count("hidden_size", undefined, LARGEST.hidden);
  const heads = config.count("num_attention_heads", undefined, LARGEST.heads);
  const layers = config.count("num_hidden_layers", undefined, LARGEST.layers);
  const context = config.count("max_position_embeddings", undefined, LARGEST.context);
  refuseUnsupported(config, family);
  refuseSlidingWindow(config, layers, context);
  return {
    family,
    vocab: config.count("vocab_size", undefined, LARGEST.vocab),
    hidden,
    intermediate: config.count("intermediate_size", undefined, LARGEST.intermediate),
    layers,
    heads,
    kvHeads: config.count("num_key_value_heads", heads),
    headDim: config.count("head_dim", family === "qwen3" ? 128 : Math.floor(hidden / heads), LARGEST.headDim),
    context,
    rmsNormEpsilon: config.positive("rms_norm_eps", 1e-6),
    tiedEmbeddings: config.flag("tie_word_embeddings", false),
    ...huggingFaceRope(config, context),
  };
}

/** Of `architectures`; of `model_type` where a config has no architectures. */
function familyOf(config: Fields): ModelConfig["family"] {
  if (!config.has("architectures") && config.has("model_type")) {
    const named = Object.values(FAMILIES).find((family) => family === config.get("model_type"));
    return named ?? config.fail("model_type", `one of ${Object.values(FAMILIES).join(", ")}`);
  }
  const names = config.list("architectures");
  const family = names.length === 1 ? lookup(FAMILIES, names[0]) : undefined;
  return family ?? config.fail("architectures", `one of ${Object.keys(FAMILIES).join(", ")}`);
}

function refuseUnsupported(config: Fields, family: ModelConfig["family"]): void {
  if (config.text("hidden_act", "silu") !== "silu") config.fail("hidden_act", '"silu"');
  // Qwen2 has biases on q, k and v whatever its config says.
  if (family !== "qwen2" && config.flag("attention_bias", false)) config.fail("attention_bias", "false");
  if (config.flag("mlp_bias", false)) config.fail("mlp_bias", "false");
  if (config.has("quantization_config")) config.fail("quantization_config", "weights in F32, F16 or BF16");
}

/** A window as long as the context changes nothing; a shorter one that some layer uses is refused. */
function refuseSlidingWindow(config: Fields, layers: number, context: number): void {
  const types = config.has("layer_types") ? config.texts("layer_types") : undefined;
  if (types?.some((type) => type !== "full_attention" && type !== "sliding_attention")) {
    config.fail("layer_types", '"full_attention" for every layer');
  }
  const used = types
    ? types.includes("sliding_attention")
    : config.flag("use_sliding_window", false) && config.notNegative("max_window_layers", 28) < layers;
  if (!used || (config.mentions("sliding_window") && !config.has("sliding_window"))) return;
  if (config.count("sliding_window", 4096) < context) {
    config.fail("sliding_window", `null or at least the context, ${context}`);
  }
}
