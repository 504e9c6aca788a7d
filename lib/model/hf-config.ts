// config.json of transformers 4 and 5 to our ModelConfig. What the engine does not compute is refused, never ignored.
import type { ModelConfig } from "../native/model-source.js";
import { type Fields, lookup } from "./fields.js";
import { huggingFaceRope } from "./hf-rope.js";
import { LARGEST } from "./largest.js";

interface Architecture {
  readonly family: ModelConfig["family"];
  readonly modelType: string;
  /** What transformers takes where config.json is silent. */
  readonly context: number;
  readonly kvHeads?: number;
  /** All layers have a sliding window, this long where config.json is silent. */
  readonly window?: number;
}

const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  LlamaForCausalLM: { family: "llama", modelType: "llama", context: 2048 },
  MistralForCausalLM: { family: "llama", modelType: "mistral", context: 131072, kvHeads: 8, window: 4096 },
  Qwen2ForCausalLM: { family: "qwen2", modelType: "qwen2", context: 32768, kvHeads: 32 },
  Qwen3ForCausalLM: { family: "qwen3", modelType: "qwen3", context: 32768, kvHeads: 32 },
};

export function huggingFaceConfig(config: Fields): ModelConfig {
  const architecture = architectureOf(config);
  const { family } = architecture;
  const hidden = config.count("hidden_size", undefined, LARGEST.hidden);
  const heads = config.count("num_attention_heads", undefined, LARGEST.heads);
  const layers = config.count("num_hidden_layers", undefined, LARGEST.layers);
  const context = config.count("max_position_embeddings", architecture.context, LARGEST.context);
  refuseUnsupported(config, family);
  refuseSlidingWindow(config, architecture, layers, context);
  return {
    family,
    vocab: config.count("vocab_size", undefined, LARGEST.vocab),
    hidden,
    intermediate: config.count("intermediate_size", undefined, LARGEST.intermediate),
    layers,
    heads,
    kvHeads: config.count("num_key_value_heads", defaultKvHeads(config, architecture, heads)),
    headDim: config.count("head_dim", family === "qwen3" ? 128 : Math.floor(hidden / heads), LARGEST.headDim),
    context,
    rmsNormEpsilon: config.positive("rms_norm_eps", 1e-6),
    tiedEmbeddings: config.flag("tie_word_embeddings", false),
    ...huggingFaceRope(config, context),
  };
}

/** null, other than silence, means as many as there are query heads. */
function defaultKvHeads(config: Fields, { kvHeads }: Architecture, heads: number): number {
  return config.mentions("num_key_value_heads") ? heads : (kvHeads ?? heads);
}

/** Of `architectures`; of `model_type` where a config has no architectures. */
function architectureOf(config: Fields): Architecture {
  if (!config.has("architectures") && config.has("model_type")) {
    const known = Object.values(ARCHITECTURES);
    const named = known.find(({ modelType }) => modelType === config.get("model_type"));
    return named ?? config.fail("model_type", `one of ${known.map(({ modelType }) => modelType).join(", ")}`);
  }
  const names = config.list("architectures");
  const architecture = names.length === 1 ? lookup(ARCHITECTURES, names[0]) : undefined;
  return architecture ?? config.fail("architectures", `one of ${Object.keys(ARCHITECTURES).join(", ")}`);
}

function refuseUnsupported(config: Fields, family: ModelConfig["family"]): void {
  if (config.text("hidden_act", "silu") !== "silu") config.fail("hidden_act", '"silu"');
  // Qwen2 has biases on q, k and v whatever its config says.
  if (family !== "qwen2" && config.flag("attention_bias", false)) config.fail("attention_bias", "false");
  if (config.flag("mlp_bias", false)) config.fail("mlp_bias", "false");
  if (config.has("quantization_config")) config.fail("quantization_config", "weights in F32, F16 or BF16");
}

/** A window as long as the context changes nothing; a shorter one that some layer uses is refused. */
function refuseSlidingWindow(config: Fields, { window }: Architecture, layers: number, context: number): void {
  const types = config.has("layer_types") ? config.texts("layer_types") : undefined;
  if (types?.some((type) => type !== "full_attention" && type !== "sliding_attention")) {
    config.fail("layer_types", '"full_attention" for every layer');
  }
  const named = types?.includes("sliding_attention");
  const some =
    named ?? (config.flag("use_sliding_window", false) && config.notNegative("max_window_layers", 28) < layers);
  const used = some || window !== undefined;
  if (!used) return;
  if (config.mentions("sliding_window") && !config.has("sliding_window")) {
    // Mistral does not look at layer_types.
    if (named && window === undefined) config.fail("sliding_window", "a number beside layers of sliding_attention");
    return;
  }
  if (config.count("sliding_window", window ?? 4096) < context) {
    config.fail("sliding_window", `null or at least the context, ${context}`);
  }
}
