// Where the backward pass adds (+=) the gradients of weights; nullptr where a weight is not trained. All are float on
// the backend, in the shape of the weight.
#pragma once

#include <vector>

#include "engine/model.h"

namespace tinylora {

struct LinearGradient {
  float* weight = nullptr;  // [out, in]
  float* bias = nullptr;    // [out]
  float* a = nullptr;       // [r, in] of the adapter
  float* b = nullptr;       // [r, out]: B transposed
};

struct LayerGradient {
  float* input_norm = nullptr;  // [C]
  float* post_norm = nullptr;   // [C]
  float* q_norm = nullptr;      // [D]
  float* k_norm = nullptr;      // [D]
  LinearGradient linear[module_types];
};

struct ModelGradient {
  float* embedding = nullptr;   // [V, C]
  float* head = nullptr;        // [V, C]; the same memory as `embedding` where the head is tied to it
  float* final_norm = nullptr;  // [C]
  std::vector<LayerGradient> layers;
  /// The first module (7 * layer + type) whose output's gradient is needed, where the backward pass may stop. -1: the
  /// gradient of the embedded tokens is needed too. 7 * layers: none is needed.
  int first_module = 0;
};

}  // namespace tinylora
