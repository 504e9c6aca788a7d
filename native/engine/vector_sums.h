// Dot products and updates of long vectors of doubles. A sum has eight lanes, lane l over i % 8 = l, so that its order
// depends on nothing but the width and a compiler may use vector instructions. Widths are multiples of 8.
#pragma once

#include <cstdint>

#include "ops/gram_matrix.h"

namespace tinylora {

/// Eight sums, added up in order at the end.
struct LaneSums {
  double values[kGramLanes] = {};

  void add(int lane, double product) { values[lane] += product; }
  double total() const {
    double sum = 0;
    for (const double value : values) sum += value;
    return sum;
  }
};

/// x . y, both [width].
inline double dot(const double* x, const double* y, std::int64_t width) {
  LaneSums lanes;
  for (std::int64_t i = 0; i < width; i += kGramLanes) {
    for (int lane = 0; lane < kGramLanes; ++lane) lanes.add(lane, x[i + lane] * y[i + lane]);
  }
  return lanes.total();
}

/// y += factor x, both [width].
inline void add_scaled(double* y, double factor, const double* x, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) y[i] += factor * x[i];
}

/// The same, and returns next . y, in one pass over y.
inline double add_scaled_dot(double* y, double factor, const double* x, const double* next, std::int64_t width) {
  LaneSums lanes;
  for (std::int64_t i = 0; i < width; i += kGramLanes) {
    for (int lane = 0; lane < kGramLanes; ++lane) {
      y[i + lane] += factor * x[i + lane];
      lanes.add(lane, next[i + lane] * y[i + lane]);
    }
  }
  return lanes.total();
}

}  // namespace tinylora
