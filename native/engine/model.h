// The transformer: its configuration and its weights on a backend. forward.h runs it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace tinylora {

/// Names and meanings of Hugging Face's config.json.
struct ModelConfig {
  std::string family;  // llama, qwen2, qwen3
  int vocab = 0;
  int hidden = 0;
  int intermediate = 0;
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int context = 0;
  float rms_norm_epsilon = 0;
  bool tied_embeddings = false;
  double rope_theta = 0;
  struct {
    std::string type;  // "", linear, llama3, yarn
    double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
    int original_context = 0;
    double beta_fast = 32, beta_slow = 1, attention_factor = 1;  // of yarn
    bool truncate = true;
  } rope_scaling;
};

/// Where one tensor lies (lib/native/addon.ts, TensorSource).
struct TensorSource {
  std::string name;
  std::string file;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::string type;
  std::vector<std::int64_t> shape;  // outermost first
  int permuted_heads = 0;
};

/// The seven linear modules of a layer, in the order of their index.
enum ModuleType { q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, module_types };

struct Linear {
  std::unique_ptr<Weight> weight;  // [out, in]
  std::shared_ptr<void> bias;      // [out] float, or none
};

struct Layer {
  std::shared_ptr<void> input_norm;      // [C] float
  std::shared_ptr<void> post_norm;       // [C]
  std::shared_ptr<void> q_norm, k_norm;  // [D] or none
  Linear linear[module_types];
};

/// The numbers of a vector of the model, on the backend; nullptr where there is none.
inline const float* floats(const std::shared_ptr<void>& vector) { return static_cast<const float*>(vector.get()); }

using Progress = std::function<void(std::int64_t done, std::int64_t total)>;

struct Model {
  ModelConfig config;
  Backend* backend = nullptr;
  std::unique_ptr<Weight> embedding;      // [V, C]
  std::unique_ptr<Weight> separate_head;  // [V, C] when untied
  std::shared_ptr<void> final_norm;       // [C]
  std::vector<Layer> layers;
  std::shared_ptr<void> rope_cos, rope_sin;  // [context, D / 2] float
  std::string fingerprint;                   // 16 hex digits
  std::size_t weight_bytes = 0;
  int version = 0;  // counts the changes of weights since they were loaded

  const Weight& head() const { return separate_head ? *separate_head : *embedding; }
};

/// Checks config and tensors against each other, maps the files, packs the weights. Calls `progress` with bytes done
/// and in all after each tensor; what it throws ends the loading.
std::unique_ptr<Model> load_model(Backend& backend, const ModelConfig& config, const std::vector<TensorSource>& tensors,
                                  const Progress& progress);

/// Reads rows of the weight of a module (7 * layer + type) from its file, widened to float and not rounded to the
/// engine's dtype: for its SVD.
RowReader module_rows(const std::vector<TensorSource>& tensors, const ModelConfig& config, int module);

}  // namespace tinylora
