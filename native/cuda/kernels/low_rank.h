// Arguments of kernels/low_rank.cu.
#pragma once

#include <stdint.h>

#include "product.h"

namespace tinylora::cuda {

inline constexpr int kMaxRank = 16;

/// inner = x right^T, left = inner R^T (forward) or inner R (backward) with the row's own R.
struct LowRankTask {
  const float* right;      // [rank, k]
  const float* r;          // [adapters, rank, rank]
  const int32_t* adapter;  // [M]
  float* inner;            // [M, rank] z or s
  float* left;             // [M, rank] zeros where the row has no adapter
  int rank;
  int unused;
};

struct LowRankKernelArgs {
  const void* x;  // [M, k] act
  int k;
  int backward;
  LowRankTask task[kMaxTasks];
};

struct RankGradientKernelArgs {
  const float* s;          // [M, rank]
  const float* z;          // [M, rank]
  const int32_t* adapter;  // [M]
  double* d_r;             // [adapters, rank, rank] +=
  int rows;
  int rank;
};

struct PadRowsKernelArgs {
  const void* x;  // [M, width] bf16
  void* y;        // [M, stride] bf16
  int width;
  int stride;
};

}  // namespace tinylora::cuda
