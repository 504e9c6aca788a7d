// Cosines and sines of the rotary embedding, [positions, D / 2].
#pragma once

#include <vector>

#include "engine/model.h"

namespace tinylora {

struct RopeTable {
  std::vector<float> cos;  // [positions, D / 2]
  std::vector<float> sin;
};

/// Angle of pair i at position p, in radians: p * frequency[i], in double. Frequencies are scaled as in transformers.
RopeTable rope_table(const ModelConfig& config, int positions);

}  // namespace tinylora
