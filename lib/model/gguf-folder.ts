// What a Hugging Face folder holds beside the weights, made of GGUF metadata: config, tokenizer and chat template.
import type { ModelConfig } from "../native/model-source.js";
import { ggufConfig } from "./gguf-config.js";
import { readGgufHeader } from "./gguf-header.js";
import { ggufTokenizerSource } from "./gguf-tokenizer.js";
import { ModelTokenizer, type TokenizerSource } from "./tokenizer.js";

/** Texts of the files, by name, as openModel and transformers read them. */
export function ggufFolderFiles(path: string): ReadonlyMap<string, string> {
  const header = readGgufHeader(path);
  const config = ggufConfig(header);
  const source = ggufTokenizerSource(header);
  const { bos, stopTokens } = new ModelTokenizer(source);
  const start = bos === undefined ? {} : { bos_token_id: bos };
  const ends = stopTokens.length === 0 ? {} : { eos_token_id: [...stopTokens] };
  const files: Record<string, object> = {
    "config.json": { ...configJson(config), ...start, ...ends },
    "generation_config.json": { ...start, ...ends },
    "tokenizer.json": tokenizerJson(source.json),
    "tokenizer_config.json": tokenizerConfig(source, config.context),
  };
  const texts = Object.entries(files).map(([name, json]) => [name, `${JSON.stringify(json, null, 2)}\n`] as const);
  const { chatTemplate } = source;
  return new Map([...texts, ...(chatTemplate === undefined ? [] : [["chat_template.jinja", chatTemplate] as const])]);
}

const ARCHITECTURES = { llama: "LlamaForCausalLM", qwen2: "Qwen2ForCausalLM", qwen3: "Qwen3ForCausalLM" } as const;

function configJson(config: ModelConfig): object {
  return {
    architectures: [ARCHITECTURES[config.family]],
    model_type: config.family,
    hidden_act: "silu",
    vocab_size: config.vocab,
    hidden_size: config.hidden,
    intermediate_size: config.intermediate,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    max_position_embeddings: config.context,
    rms_norm_eps: config.rmsNormEpsilon,
    tie_word_embeddings: config.tiedEmbeddings,
    attention_bias: config.family === "qwen2",
    rope_theta: config.ropeTheta,
    rope_scaling: ropeScaling(config),
    torch_dtype: "bfloat16",
  };
}

function ropeScaling({ ropeScaling: scaling }: ModelConfig): object | null {
  if (!scaling) return null;
  if (scaling.type === "linear") return { rope_type: "linear", factor: scaling.factor };
  const { type, factor, originalContext } = scaling;
  const shared = { rope_type: type, factor, original_max_position_embeddings: originalContext };
  if (type === "llama3") {
    return { ...shared, low_freq_factor: scaling.lowFreqFactor, high_freq_factor: scaling.highFreqFactor };
  }
  const { betaFast, betaSlow, truncate, attentionFactor } = scaling;
  return { ...shared, beta_fast: betaFast, beta_slow: betaSlow, truncate, attention_factor: attentionFactor };
}

/** With the keys that the Rust library asks for. */
function tokenizerJson({ model, ...steps }: Record<string, unknown>): object {
  const unused = {
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
  };
  return { version: "1.0", truncation: null, padding: null, ...steps, model: { ...unused, ...(model as object) } };
}

function tokenizerConfig({ specialTokens }: TokenizerSource, context: number): object {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    clean_up_tokenization_spaces: false,
    model_max_length: context,
    ...specialTokens,
  };
}
