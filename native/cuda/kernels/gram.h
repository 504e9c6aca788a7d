// Arguments of kernels/gram.cu.
#pragma once

#include "ops/gram_matrix.h"

namespace tinylora::cuda {

inline constexpr int kGramRowsThreads = 128;
inline constexpr int kGramRowsTile = 32;  // rows a block
inline constexpr int kGramColumnsThreads = 128;
inline constexpr int kGramColumnsTile = 256;  // columns a block
inline constexpr int kGramSumThreads = 256;

struct GramKernelArgs {
  const float* w;   // [rows, width]
  const double* x;  // [4, width]
  double* y;        // [rows, 4]
  double* partial;  // [pieces, 4, width]
  double* z;        // [4, width]
  int rows;
  int width;
  int piece_rows;
  int pieces;
};

}  // namespace tinylora::cuda
