// The update of the tensor-core products' outputs, += left right: a block reads the factors of its rows and columns
// once, into shared memory, while the product begins, and every thread adds them to what it holds of C fragments.
//
// T, the tiling: kRows and kColumns of the tile, kThreads that copy (a multiple of kColumns), and of a warp kTilesM by
// kTilesN fragments. Bytes: 4 r (kRows + kColumns) a tile from L2, asked for while the product begins. Operations: r
// fmaf an output; a lane reads a factor from shared memory once.
#pragma once

#include "mma.cuh"
#include "product.h"

namespace tinylora::cuda {

/// Starts the copies: left [kRows, rank], then right [rank, kColumns], zeros past the end. kRank: the rank, or 0 for
/// any.
template <typename T, unsigned kRank>
__device__ void load_factors(const ProductKernelArgs& args, const ProductTask& task, int row0, int column0,
                             float* factors) {
  constexpr int kUnroll = kRank > 0 ? 16 : 1;
  const unsigned rank = kRank > 0 ? kRank : static_cast<unsigned>(task.rank);
  const unsigned real = rank * static_cast<unsigned>(args.rows - row0), rows = rank * T::kRows;
  const float* left = task.left + (static_cast<unsigned>(row0) * rank + threadIdx.x);
  float* to = factors + threadIdx.x;
#pragma unroll(kUnroll)
  for (unsigned i = 0; i < rows; i += T::kThreads) {
    if (rows % T::kThreads == 0 || i + threadIdx.x < rows) copy_word_async(to + i, left + i, i + threadIdx.x < real);
  }
  const unsigned row = threadIdx.x / T::kColumns, n = column0 + threadIdx.x % T::kColumns;
  const float* right = task.right + (row * static_cast<unsigned>(task.n) + n);
  to += rows;
#pragma unroll(kUnroll)
  for (unsigned r = 0; r < rank; r += T::kThreads / T::kColumns) {
    if (r + row < rank) {
      copy_word_async(to + r * T::kColumns, right + r * static_cast<unsigned>(task.n), static_cast<int>(n) < task.n);
    }
  }
}

template <typename T>
__device__ void load_factors(const ProductKernelArgs& args, const ProductTask& task, int row0, int column0,
                             float* factors) {
  if (task.rank == 2) {
    load_factors<T, 2>(args, task, row0, column0, factors);
  } else if (task.rank > 0) {
    load_factors<T, 0>(args, task, row0, column0, factors);
  }
}

/// sum += left right of kTogether of the rank. `left` begins at the thread's row, `right` at its pair of columns.
template <typename T, int kTogether>
__device__ void add_terms(float (&sum)[T::kTilesM][T::kTilesN][4], const float* left, int stride, const float* right) {
  float a[2 * T::kTilesM][kTogether];
#pragma unroll
  for (int i = 0; i < 2 * T::kTilesM; ++i) {
    if constexpr (kTogether == 2) {
      const float2 both = *reinterpret_cast<const float2*>(left + 8 * i * stride);
      a[i][0] = both.x, a[i][1] = both.y;
    } else {
      a[i][0] = left[8 * i * stride];
    }
  }
#pragma unroll
  for (int j = 0; j < T::kTilesN; ++j) {
#pragma unroll
    for (int r = 0; r < kTogether; ++r) {
      const float2 b = *reinterpret_cast<const float2*>(right + r * T::kColumns + 8 * j);
#pragma unroll
      for (int i = 0; i < 2 * T::kTilesM; ++i) {
        float(&c)[4] = sum[i / 2][j];
        c[2 * (i % 2)] = fmaf(a[i][r], b.x, c[2 * (i % 2)]);
        c[2 * (i % 2) + 1] = fmaf(a[i][r], b.y, c[2 * (i % 2) + 1]);
      }
    }
  }
}

/// sum += left right, r ascending, from what load_factors left. `row` and `column` are the warp's first of the tile.
template <typename T>
__device__ void add_update(int rank, float (&sum)[T::kTilesM][T::kTilesN][4], const float* factors, int row,
                           int column) {
  row += static_cast<int>(threadIdx.x % 32 / 4), column += 2 * static_cast<int>(threadIdx.x % 4);
  if (rank == 2) return add_terms<T, 2>(sum, factors + 2 * row, 2, factors + 2 * T::kRows + column);
  const float* left = factors + rank * row;
  const float* right = factors + rank * T::kRows + column;
#pragma unroll 1
  for (int r = 0; r < rank; ++r) add_terms<T, 1>(sum, left + r, rank, right + r * T::kColumns);
}

}  // namespace tinylora::cuda
