// Arguments of kernels/weight_gradient.cu and weight_gradient_f32.cu.
#pragma once

#include <stdint.h>

namespace tinylora::cuda {

/// d_weight [out, in] += dy^T x.
struct WeightGradientKernelArgs {
  const void* dy;  // [M, dy_stride] act, columns out .. zero
  const void* x;   // [M, x_stride] act, columns in .. zero
  float* d_weight;
  int rows;
  int out;
  int in;
  int dy_stride;
  int x_stride;
  int pairs;  // in is even and d_weight is aligned for two neighbours at once
};

}  // namespace tinylora::cuda
