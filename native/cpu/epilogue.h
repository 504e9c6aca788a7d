// What happens to a finished tile, in float: + low right (the low-rank update), + bias, then rounding, or the residual add.
#pragma once

#include "cpu/product_kernels.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

/// The update of one vector of columns for all rows of a tile. kRank -1: any rank.
template <int kRank, int kStride>
TINYLORA_INLINE void add_low_rank(const ProductTask& task, int row, int rows, int column, int count, float* sums) {
  const int rank = kRank < 0 ? task.rank : kRank;
  const auto right = [&](int j) {
    const float* p = task.right + std::ptrdiff_t{j} * task.out + column;
    return count == kLanes ? Floats::load(p) : Floats::load(p, count);
  };
  Floats b[kRank < 0 ? 16 : kRank];
  for (int j = 0; j < rank; ++j) b[j] = right(j);
  const float* low = task.low + std::ptrdiff_t{row} * rank;
  for (int m = 0; m < rows; ++m, low += rank) {
    if (!task.active[row + m]) continue;
    Floats value = Floats::load(sums + m * kStride);
    for (int j = 0; j < rank; ++j) value = fma(Floats::all(low[j]), b[j], value);
    value.store(sums + m * kStride);
  }
}

template <class Out>
TINYLORA_INLINE void store_row(Floats value, Out* y, int count) {
  if (count == kLanes) {
    value.store(y);
  } else {
    value.store(y, count);
  }
}

template <class Tile>
void finish_tile(const ProductTask& task, int row, int rows, int first_column, float* tile_sums) {
  for (int v = 0; v < Tile::kPanel; v += kLanes) {
    const int column = first_column + v;
    const int count = task.out - column < kLanes ? task.out - column : kLanes;
    if (count <= 0) return;
    float* sums = tile_sums + v;
    switch (task.rank) {
      case 0: break;
      case 1: add_low_rank<1, Tile::kPanel>(task, row, rows, column, count, sums); break;
      case 2: add_low_rank<2, Tile::kPanel>(task, row, rows, column, count, sums); break;
      default: add_low_rank<-1, Tile::kPanel>(task, row, rows, column, count, sums);
    }
    Floats bias = Floats::zero();
    if (task.bias) bias = Floats::load(task.bias + column, count);
    const std::ptrdiff_t first = row * task.y_stride + column - task.y_column;
    for (int m = 0; m < rows; ++m) {
      Floats value = Floats::load(sums + m * Tile::kPanel);
      if (task.bias) value = value + bias;
      const std::ptrdiff_t at = first + m * task.y_stride;
      if (task.y_float) {
        float* y = static_cast<float*>(task.y) + at;
        if (task.add) value = value + (count == kLanes ? Floats::load(y) : Floats::load(y, count));
        store_row(value, y, count);
      } else {
        store_row(value, static_cast<typename Tile::Element*>(task.y) + at, count);
      }
    }
  }
}

}  // namespace tinylora::TINYLORA_ISA
