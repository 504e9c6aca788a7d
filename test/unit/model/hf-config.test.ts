import { describe, expect, it } from "vitest";
import { Fields } from "../../../lib/model/fields.js";
import { huggingFaceConfig } from "../../../lib/model/hf-config.js";
import { expectError } from "./files.js";

const llama = {
  architectures: ["LlamaForCausalLM"],
  vocab_size: 300,
  hidden_size: 48,
  intermediate_size: 80,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  max_position_embeddings: 256,
};
const config = (changes: object) => huggingFaceConfig(new Fields("config.json", { ...llama, ...changes }));

describe("config.json", () => {
  it("has transformers' defaults", () => {
    expect(config({})).toMatchObject({
      kvHeads: 3,
      headDim: 16,
      rmsNormEpsilon: 1e-6,
      tiedEmbeddings: false,
      ropeTheta: 10000,
    });
  });
  it.each([
    ["Qwen2ForCausalLM", 32],
    ["Qwen3ForCausalLM", 32],
    ["MistralForCausalLM", 8],
    ["LlamaForCausalLM", 64],
  ])("without num_key_value_heads has transformers' number for %s, with null that of queries", (name, kvHeads) => {
    const silent = { architectures: [name], num_attention_heads: 64, head_dim: 16 };
    expect(config(silent).kvHeads).toBe(kvHeads);
    expect(config({ ...silent, num_key_value_heads: null }).kvHeads).toBe(64);
  });
  it("of transformers 4 and 5 says the same about rope", () => {
    const scaling = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 };
    const old = config({ rope_theta: 5e5, rope_scaling: { rope_type: "llama3", ...scaling } });
    expect(config({ rope_parameters: { rope_theta: 5e5, rope_type: "llama3", ...scaling } })).toEqual(old);
    expect(old.ropeScaling).toEqual({
      type: "llama3",
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalContext: 64,
    });
    expect(config({ rope_scaling: { type: "linear", factor: 2 } }).ropeScaling).toEqual({ type: "linear", factor: 2 });
    expect(config({ rope_scaling: null })).not.toHaveProperty("ropeScaling");
  });
  it("of transformers that has both spellings of rope means the old one, unless it is empty", () => {
    const linear = { rope_type: "linear", factor: 2, rope_theta: 5e5 };
    const both = { rope_theta: 777, rope_scaling: linear, rope_parameters: { rope_type: "linear", factor: 3 } };
    expect(config(both)).toMatchObject({ ropeTheta: 5e5, ropeScaling: { type: "linear", factor: 2 } });
    expect(config({ ...both, rope_scaling: {} })).toMatchObject({ ropeTheta: 777, ropeScaling: { factor: 3 } });
  });
  it("may name the original context beside rope's own keys, where it counts for more", () => {
    const llama3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    const beside = { rope_scaling: { ...llama3, original_max_position_embeddings: 64 } };
    expect(config(beside).ropeScaling).toMatchObject({ originalContext: 64 });
    expect(config({ ...beside, original_max_position_embeddings: 48 }).ropeScaling).toMatchObject({
      originalContext: 48,
    });
    expect(config({ rope_scaling: llama3 }).ropeScaling).toMatchObject({ originalContext: 256 });
  });
  it("scales dynamically only beyond the context, where nothing is computed", () =>
    expect(config({ rope_scaling: { type: "dynamic", factor: 4 } })).not.toHaveProperty("ropeScaling"));
  const attention = (factor: number) => 0.1 * Math.log(factor) + 1;
  it.each<[given: object, read: object]>([
    [{}, { factor: 4, attentionFactor: attention(4), betaFast: 32, betaSlow: 1, truncate: true }],
    [{ factor: 1 }, { factor: 1, attentionFactor: 1 }],
    [{ factor: null }, { factor: 4, attentionFactor: attention(4) }],
    [{ attn_factor: 0.8 }, { attentionFactor: attention(4) }],
    [{ attention_factor: 0.8, mscale: 1, mscale_all_dim: 2 }, { attentionFactor: 0.8 }],
    [{ mscale: 1, mscale_all_dim: 0.5 }, { attentionFactor: attention(4) / (0.05 * Math.log(4) + 1) }],
    [{ mscale: 2, mscale_all_dim: 0 }, { attentionFactor: attention(4) }],
    [
      { beta_fast: 16, beta_slow: 0 },
      { betaFast: 16, betaSlow: 1 },
    ],
    [{ truncate: false }, { truncate: false }],
  ])("of yarn with %j has transformers' %j", (given, read) => {
    const yarn = { type: "yarn", factor: 4, original_max_position_embeddings: 64, ...given };
    expect(config({ rope_scaling: yarn }).ropeScaling).toMatchObject({ type: "yarn", originalContext: 64, ...read });
  });
  it("that holds a number where an object belongs is refused", () =>
    expectError(() => config({ rope_scaling: 5 }), "ERR_MODEL", "config.json: rope_scaling: expected an object"));
  it("may name a sliding window that no layer uses", () => {
    const qwen2 = { architectures: ["Qwen2ForCausalLM"], sliding_window: 128, max_window_layers: 1 };
    expect(config({ ...qwen2, use_sliding_window: false }).family).toBe("qwen2");
    expect(config({ ...qwen2, use_sliding_window: true, sliding_window: 256 }).family).toBe("qwen2");
    expect(config({ ...qwen2, use_sliding_window: true, sliding_window: null }).family).toBe("qwen2");
    expect(config({ ...qwen2, use_sliding_window: true, max_window_layers: 2 }).family).toBe("qwen2");
    const layer_types = ["full_attention", "full_attention"];
    expect(config({ ...qwen2, use_sliding_window: true, layer_types }).family).toBe("qwen2");
  });

  it("of Mistral is Llama's where no layer has a window", () => {
    const mistral = { architectures: ["MistralForCausalLM"], num_key_value_heads: 1 };
    const plain = config({ num_key_value_heads: 1 });
    expect(config({ ...mistral, sliding_window: null })).toEqual(plain);
    const layer_types = ["full_attention", "sliding_attention"]; // which it does not look at
    expect(config({ ...mistral, sliding_window: null, layer_types })).toEqual(plain);
    expect(config({ ...mistral, sliding_window: 256 })).toEqual(plain);
    expect(config(mistral)).toEqual(plain); // 4096, more than the context
    const typed = { architectures: undefined, model_type: "mistral", num_attention_heads: 8 };
    expect(config(typed)).toMatchObject({ family: "llama", kvHeads: 8 });
  });
  it.each([
    ["LlamaForCausalLM", 2048],
    ["Qwen2ForCausalLM", 32768],
    ["Qwen3ForCausalLM", 32768],
    ["MistralForCausalLM", 131072],
  ])("without max_position_embeddings has transformers' context for %s", (name, context) => {
    const silent = { architectures: [name], max_position_embeddings: undefined, sliding_window: null };
    expect(config(silent).context).toBe(context);
  });

  const refused: [key: string, changes: object][] = [
    ["architectures", { architectures: ["GPT2LMHeadModel"] }],
    ["architectures", { architectures: undefined }],
    ["model_type", { architectures: undefined, model_type: "mamba" }],
    ["hidden_size", { hidden_size: -48 }],
    ["hidden_size", { hidden_size: "48" }],
    ["vocab_size", { vocab_size: 2 ** 40 }],
    ["vocab_size", { vocab_size: 2 ** 31 - 1 }],
    ["num_hidden_layers", { num_hidden_layers: 1025 }],
    ["head_dim", { head_dim: 513 }],
    ["head_dim", { num_attention_heads: 49 }],
    ["rms_norm_eps", { rms_norm_eps: 0 }],
    ["hidden_act", { hidden_act: "gelu" }],
    ["attention_bias", { attention_bias: true }],
    ["mlp_bias", { mlp_bias: true }],
    ["quantization_config", { quantization_config: { quant_method: "awq" } }],
    ["rope_type", { rope_scaling: { rope_type: "longrope", factor: 4 } }],
    ["attention_factor", { rope_scaling: { rope_type: "yarn", factor: 4, attention_factor: 0 } }],
    ["beta_fast", { rope_scaling: { rope_type: "yarn", factor: 4, beta_fast: -1 } }],
    ["factor", { rope_scaling: { rope_type: "linear", factor: -1 } }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.5 }],
    [
      "sliding_window",
      {
        architectures: ["Qwen2ForCausalLM"],
        sliding_window: 128,
        use_sliding_window: true,
        max_window_layers: 1,
      },
    ],
    [
      "sliding_window",
      {
        architectures: ["Qwen2ForCausalLM"],
        max_position_embeddings: 8192,
        use_sliding_window: true,
        max_window_layers: 0,
      },
    ],
    ["sliding_window", { architectures: ["MistralForCausalLM"], sliding_window: 128 }],
    ["sliding_window", { architectures: ["MistralForCausalLM"], max_position_embeddings: 8192 }],
    ["layer_types", { layer_types: ["full_attention", "chunked_attention"] }],
    ["sliding_window", { sliding_window: 128, layer_types: ["full_attention", "sliding_attention"] }],
    ["sliding_window", { sliding_window: null, layer_types: ["full_attention", "sliding_attention"] }],
  ];
  it.each(refused)("is refused for %s: %j", (key, changes) =>
    expectError(() => config(changes), "ERR_MODEL", "config.json", `${key}: expected`, "found"),
  );
});
