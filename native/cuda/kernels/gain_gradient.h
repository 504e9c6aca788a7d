// Arguments of kernels/gain_gradient.cu and head_gain_gradient.cu.
#pragma once

#include "ops/training.h"

namespace tinylora::cuda {

inline constexpr int kColumnSumThreads = 512;
inline constexpr int kColumnSumWidth = 32;  // columns a block

/// d_bias [width] += sum over rows of dy.
struct BiasGradientKernelArgs {
  const void* dy;  // [M, width] act
  float* d_bias;
  int rows;
  int width;
};

inline constexpr int kHeadGainWarps = 8;
inline constexpr int kHeadGainRun = 64;  // rows (or stores) a block sums

/// One of the two norms: `count` items (rows, or stores of keys), `heads` heads each.
struct HeadGainTask {
  int count;
  int heads;
  int head_dim;
  float epsilon;
  const std::int32_t* item_row;   // [count] or none: item i is row i
  const std::int32_t* item_slot;  // [count] or none: where dy of the item lies, else at its row
  const std::int32_t* position;   // [M]
  const float* cos;               // [positions, D / 2]
  const float* sin;
  const float* x;   // [M, heads, D]
  const float* dy;  // [M or slots, heads, D]
  double* runs;     // [ceil(count / kHeadGainRun), D] out
  float* d_gain;    // [D] +=
};

}  // namespace tinylora::cuda
