#include "engine/model_shape.h"

#include "core/error.h"
#include "engine/models/family.h"

namespace tinylora {
namespace {

void check_range(const char* key, std::int64_t value, std::int64_t least, std::int64_t most) {
  check(value >= least && value <= most, "ERR_MODEL", "config: ", key, ": expected ", least, " to ", most, ", found ",
        value);
}

void check_number(const char* key, double value, double least, double most) {
  check(value >= least && value <= most, "ERR_MODEL", "config: ", key, ": expected ", least, " to ", most, ", found ",
        value);
}

void check_rope_scaling(const ModelConfig& config) {
  const auto& scaling = config.rope_scaling;
  if (scaling.type.empty()) return;
  check(scaling.type == "linear" || scaling.type == "llama3" || scaling.type == "yarn", "ERR_MODEL",
        "config: rope_scaling: expected linear, llama3 or yarn, found ", scaling.type);
  check_number("rope_scaling.factor", scaling.factor, 1, 1e6);
  if (scaling.type == "linear") return;
  check_range("rope_scaling.original_max_position_embeddings", scaling.original_context, 1, 1 << 30);
  if (scaling.type == "yarn") {
    check_number("rope_scaling.beta_fast", scaling.beta_fast, 1e-3, 1e6);
    check_number("rope_scaling.beta_slow", scaling.beta_slow, 1e-3, 1e6);
    check_number("rope_scaling.attention_factor", scaling.attention_factor, 1e-3, 1e3);
    check(config.rope_theta > 1, "ERR_MODEL", "config: rope_theta: expected above 1 with yarn, found ",
          config.rope_theta);
    return;
  }
  check_number("rope_scaling.low_freq_factor", scaling.low_freq_factor, 1e-3, 1e6);
  check_number("rope_scaling.high_freq_factor", scaling.high_freq_factor, 1e-3, 1e6);
  check(scaling.low_freq_factor < scaling.high_freq_factor, "ERR_MODEL",
        "config: rope_scaling: expected low_freq_factor below high_freq_factor, found ", scaling.low_freq_factor,
        " and ", scaling.high_freq_factor);
}

std::string layer_name(int layer, const std::string& rest) {
  return "model.layers." + std::to_string(layer) + "." + rest;
}

/// Query and key heads are what llama.cpp's converter permutes.
int permutable_heads(const ModelConfig& config, int type) {
  return type == q_proj ? config.heads : type == k_proj ? config.kv_heads : 0;
}

}  // namespace

void check_config(const ModelConfig& config) {
  check(find_family(config.family) != nullptr, "ERR_MODEL", "config: model family: expected one of ", family_names(),
        ", found ", config.family);
  check_range("vocab_size", config.vocab, 1, 1 << 24);
  check_range("hidden_size", config.hidden, 1, 1 << 17);
  check_range("intermediate_size", config.intermediate, 1, 1 << 20);
  check_range("num_hidden_layers", config.layers, 1, 1024);
  check_range("num_attention_heads", config.heads, 1, 1024);
  check_range("num_key_value_heads", config.kv_heads, 1, config.heads);
  check(config.heads % config.kv_heads == 0, "ERR_MODEL",
        "config: num_attention_heads: expected a multiple of num_key_value_heads (", config.kv_heads, "), found ",
        config.heads);
  check_range("head_dim", config.head_dim, 2, kMaxHeadDim);
  check(config.head_dim % 2 == 0, "ERR_MODEL", "config: head_dim: expected an even number, found ", config.head_dim);
  check_range("max_position_embeddings", config.context, 1, 1 << 30);
  check_number("rms_norm_eps", static_cast<double>(config.rms_norm_epsilon), 1e-12, 1);
  check_number("rope_theta", config.rope_theta, 1, 1e12);
  check_rope_scaling(config);
}

LinearShape linear_shape(const ModelConfig& config, int type) {
  const int query = config.heads * config.head_dim;
  const int key = config.kv_heads * config.head_dim;
  switch (type) {
    case q_proj:
      return {"self_attn.q_proj", query, config.hidden};
    case k_proj:
      return {"self_attn.k_proj", key, config.hidden};
    case v_proj:
      return {"self_attn.v_proj", key, config.hidden};
    case o_proj:
      return {"self_attn.o_proj", config.hidden, query};
    case gate_proj:
      return {"mlp.gate_proj", config.intermediate, config.hidden};
    case up_proj:
      return {"mlp.up_proj", config.intermediate, config.hidden};
    default:
      return {"mlp.down_proj", config.hidden, config.intermediate};
  }
}

TensorShape embedding_shape(const ModelConfig& config) {
  return {.name = "model.embed_tokens.weight", .rows = config.vocab, .columns = config.hidden};
}

TensorShape head_shape(const ModelConfig& config) {
  return {.name = "lm_head.weight", .rows = config.vocab, .columns = config.hidden};
}

TensorShape final_norm_shape(const ModelConfig& config) {
  return {.name = "model.norm.weight", .rows = config.hidden, .vector = true};
}

TensorShape input_norm_shape(const ModelConfig& config, int layer) {
  return {.name = layer_name(layer, "input_layernorm.weight"), .rows = config.hidden, .vector = true};
}

TensorShape post_norm_shape(const ModelConfig& config, int layer) {
  return {.name = layer_name(layer, "post_attention_layernorm.weight"), .rows = config.hidden, .vector = true};
}

TensorShape q_norm_shape(const ModelConfig& config, int layer) {
  return {.name = layer_name(layer, "self_attn.q_norm.weight"), .rows = config.head_dim, .vector = true};
}

TensorShape k_norm_shape(const ModelConfig& config, int layer) {
  return {.name = layer_name(layer, "self_attn.k_norm.weight"), .rows = config.head_dim, .vector = true};
}

TensorShape weight_shape(const ModelConfig& config, int layer, int type) {
  const LinearShape shape = linear_shape(config, type);
  return {.name = layer_name(layer, std::string(shape.name) + ".weight"),
          .rows = shape.out,
          .columns = shape.in,
          .heads = permutable_heads(config, type)};
}

TensorShape bias_shape(const ModelConfig& config, int layer, int type) {
  const LinearShape shape = linear_shape(config, type);
  return {.name = layer_name(layer, std::string(shape.name) + ".bias"),
          .rows = shape.out,
          .vector = true,
          .heads = permutable_heads(config, type)};
}

bool has_bias(const ModelConfig& config, int type) { return type <= v_proj && find_family(config.family)->qkv_bias; }

bool is_harmless_extra(const ModelConfig& config, const std::string& name) {
  return (config.tied_embeddings && name == head_shape(config).name) || name.ends_with(".rotary_emb.inv_freq");
}

}  // namespace tinylora
