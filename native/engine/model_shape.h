// What a configuration says about the tensors of a model: which there are, and their shapes.
#pragma once

#include <string>

#include "engine/model.h"

namespace tinylora {

/// A tensor that the model needs: a matrix [rows, columns], or a vector [rows] (columns 1).
struct TensorShape {
  std::string name;
  int rows = 0;
  int columns = 1;
  bool vector = false;
  int heads = 0;  // of a query or key tensor, whose rows llama.cpp's converter may have permuted by head; else 0
};

/// Longest sequence that the engine runs, whatever the model's own context: bounds the rotary table.
inline constexpr int kMaxContext = 1 << 17;

/// Fails with ERR_MODEL where a number is out of range or two do not fit together.
void check_config(const ModelConfig& config);

/// In and out of the seven linear modules.
struct LinearShape {
  const char* name;  // "self_attn.q_proj"
  int out;
  int in;
};
LinearShape linear_shape(const ModelConfig& config, int type);

TensorShape embedding_shape(const ModelConfig& config);
TensorShape head_shape(const ModelConfig& config);
TensorShape final_norm_shape(const ModelConfig& config);
TensorShape input_norm_shape(const ModelConfig& config, int layer);
TensorShape post_norm_shape(const ModelConfig& config, int layer);
TensorShape q_norm_shape(const ModelConfig& config, int layer);
TensorShape k_norm_shape(const ModelConfig& config, int layer);
TensorShape weight_shape(const ModelConfig& config, int layer, int type);
TensorShape bias_shape(const ModelConfig& config, int layer, int type);
bool has_bias(const ModelConfig& config, int type);

/// A tensor that files may contain although the model does not need it: a copy of the embedding for a tied head, or
/// frequencies of the rotary embedding, which follow from the configuration.
bool is_harmless_extra(const ModelConfig& config, const std::string& name);

}  // namespace tinylora
