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

inline constexpr int kCopiedArrays = 18;

struct CopyRowsKernelArgs {
  struct Array {
    const void* from;
    void* to;
    int64_t bytes;  // of a row, even
    int64_t from_stride, to_stride;
  };
  const int32_t* from_rows;  // [rows] or none: row i
  const int32_t* to_rows;    // [rows] or none: row i
  Array arrays[kCopiedArrays];
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
