// Arguments of kernels/rows.cu.
#pragma once

#include "low_rank.h"

namespace tinylora::cuda {

struct EmbedKernelArgs {
  const int32_t* tokens;  // [M]
  const void* table;      // [V, stride]
  float* x;               // [M, width]
  int width;
  int stride;
  int vocabulary;
};

struct GatherKernelArgs {
  const int32_t* rows;  // [count]
  const float* x;
  float* y;
  int count;
  int width;
};

struct CastKernelArgs {
  const float* x;
  void* y;
  int64_t count;
};

struct CastRowsKernelArgs {
  const float* x;        // [M, k]
  void* y;               // [M, k] act
  LowRankArgs low_rank;  // of y
};

}  // namespace tinylora::cuda
