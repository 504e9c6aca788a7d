// The input of the vocabulary head: rows of the residual stream that predict tokens, after the last norm.
#pragma once

#include <cstdint>

#include "engine/arena.h"
#include "engine/model.h"

namespace tinylora {

struct HeadInput {
  std::int32_t* rows = nullptr;  // [n] of the stream; whoever computes uploads them
  float* x = nullptr;            // [n, C] gathered
  float* inv_rms = nullptr;      // [n]
  void* normed = nullptr;        // [n, C] act

  /// Takes room for `capacity` rows.
  void lay_out(Arena& arena, const Model& model, int capacity);
  /// Of the first `count` rows; stream [M, C] is what the last layer leaves.
  void compute(const Model& model, int count, const float* stream) const;
};

}  // namespace tinylora
