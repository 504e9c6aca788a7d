// Arguments of kernels/norm.cu.
#pragma once

#include "low_rank.h"

namespace tinylora::cuda {

inline constexpr int kNormBackwardThreads = 256;

struct RmsNormKernelArgs {
  const float* x;        // [M, width]
  const float* gain;     // [width]
  void* y;               // [M, width] act
  float* inv_rms;        // [M]
  LowRankArgs low_rank;  // of y; k = width
  float epsilon;
  int unused;
};

struct RmsNormBackwardKernelArgs {
  const float* x;        // [M, width]
  const float* gain;     // [width]
  const float* inv_rms;  // [M]
  const float* dy;       // [M, width]
  float* dx;             // [M, width] +=
  int width;
};

}  // namespace tinylora::cuda
