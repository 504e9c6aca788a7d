// The fixed random matrices P_1 .. P_u of a module. They depend only on (seed, module), with the same bits on every
// platform, because they are computed by the basic operations of IEEE 754 alone.
#pragma once

#include <cstdint>
#include <vector>

namespace tinylora {

enum class Distribution {
  normal,      // standard deviation 1 / sqrt(r)
  uniform,     // the same variance, mean 0
  orthogonal,  // each P_i uniform among the orthogonal matrices
  unit,        // P_i has a single 1, at cell i: LoRA-XS. u = r * r
};

/// [u, r, r]. Number e of the module comes from words (0, 1) (e even) or (2, 3) (e odd) of Philox4x32-10 with key
/// `seed` and counter (e / 2, "proj", module, 0). Fails with ERR_ARGUMENT where u does not fit the distribution.
std::vector<float> projection(std::uint64_t seed, std::uint32_t module, int u, int rank, Distribution distribution);

}  // namespace tinylora
