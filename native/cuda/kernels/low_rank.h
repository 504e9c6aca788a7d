// Arguments of the rank-r side of products: low_rank.cu, and the kernels that make z or s of the rows
// that they write.
#pragma once

#include <stdint.h>

#include "product.h"

namespace tinylora::cuda {

inline constexpr int kMaxRank = 16;
inline constexpr int kGroup = 4;          // neighbouring elements that a thread takes at a time
inline constexpr int kUnit = 16;          // neighbouring elements that one tensor instruction takes of a row
inline constexpr int kTerms = 3;          // 16-bit numbers that a factor is the sum of
inline constexpr int kTallRows = 16;      // rows of a tall block (row_tile.cuh)
inline constexpr int kTallThreads = 512;  // of a tall block
inline constexpr int kFlatThreads = 128;  // of a block of one row
inline constexpr int kRankGradientThreads = 512;
inline constexpr int kFactorTermsThreads = 256;

/// A factor of an update, [rank, k] float, as tensor cores read it: for each row a power of two, then for each row and
/// unit of 16 columns kTerms times 16 bf16 or fp16. The terms of an element add up to it times its row's power, to the
/// last bit of a float; columns past k are zeros.
constexpr int kFactorTermsHead = 4 * kMaxRank;  // bytes
constexpr int kUnitBytes = kTerms * kUnit * 2;
constexpr int64_t factor_terms_bytes(int rank, int k) {
  return kFactorTermsHead + int64_t{rank} * ((k + kUnit - 1) / kUnit) * kUnitBytes;
}

struct FactorTermsKernelArgs {
  const float* factor;  // [rank, k]
  void* terms;          // factor_terms_bytes(rank, k)
  int k;
  int unused;
};

/// inner = x right^T, left = inner R^T (forward) or inner R (backward) with the row's own R.
struct LowRankTask {
  const void* right;       // [rank, k] float, or where acts are of 16 bits its factor terms
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
  int vector;  // k is a multiple of kUnit, and every array that is read or written in groups is aligned to 16 bytes
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
  const int32_t* part_rows;  // [parts + 1]: first rows of parts (ops/linear.h, GradientParts); none: by adapter
  RankGradientTask task[kMaxTasks];
};

struct PadRowsKernelArgs {
  const void* x;  // [M, width] of 16 bits
  void* y;        // [M, stride], zeros from width on
  int width;
  int stride;
};

}  // namespace tinylora::cuda
