// Arguments of the rank-r side of products: low_rank.cu, and the kernels that make z or s beside the rows they write.
#pragma once

#include <stdint.h>

#include "product.h"

namespace tinylora::cuda {

inline constexpr int kMaxRank = 16;
inline constexpr int kGroup = 4;           // neighbouring elements that a thread takes at a time
inline constexpr int kTallRows = 16;       // rows of a tall block (row_tile.cuh)
inline constexpr int kTallThreads = 1024;  // of a tall block
inline constexpr int kFlatThreads = 128;   // of a block of one row
inline constexpr int kRankGradientThreads = 512;

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

/// What is made of rows x [M, k], or of several such matrices at once. No tasks: the rows alone.
struct LowRankArgs {
  int rows;
  int k;
  int tasks;
  int backward;
  int vector;  // k is a multiple of kGroup, and every array that is read or written in groups is aligned to 16 bytes
  int unused;
  LowRankTask task[kMaxTasks];
};

struct LowRankKernelArgs {
  const void* x;  // [M, k] act
  LowRankArgs low_rank;
};

struct RankGradientTask {
  const float* s;          // [M, rank]
  const float* z;          // [M, rank]
  const int32_t* adapter;  // [M]
  double* d_r;             // [adapters, rank, rank] +=, or [parts, rank, rank]
  int rank;
  int unused;
};

struct RankGradientKernelArgs {
  int rows;
  int tasks;
  const int32_t* part_rows;  // [parts + 1]: first rows of parts (ops.h, GradientParts); none: by adapter
  RankGradientTask task[kMaxTasks];
};

struct PadRowsKernelArgs {
  const void* x;  // [M, width] bf16
  void* y;        // [M, stride] bf16
  int width;
  int stride;
};

}  // namespace tinylora::cuda
