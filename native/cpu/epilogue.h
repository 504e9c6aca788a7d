// What happens to a finished tile, in float: + low right (the low-rank update), + bias, then rounding, or the residual
// add.
#pragma once

#include "cpu/product_kernels.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

TINYLORA_INLINE Floats load_columns(const float* p, int count) {
  return count == kLanes ? Floats::load(p) : Floats::load(p, count);
}

template <class Out>
TINYLORA_INLINE void store_columns(Floats value, Out* y, int count) {
  if (count == kLanes) {
    value.store(y);
  } else {
    value.store(y, count);
  }
}

/// One vector of columns of all rows of a tile: write(m, value) gets row m's. kRank -1 is any rank.
template <int kRank, int kStride, class Write>
TINYLORA_INLINE void finish_columns(const ProductTask& task, int row, int rows, int column, int count,
                                    const float* sums, const Write& write) {
  constexpr int kMost = kRank < 0 ? 16 : kRank;
  const int rank = kRank < 0 ? task.rank : kRank;
  Floats right[kMost == 0 ? 1 : kMost];
  for (int j = 0; j < rank; ++j) right[j] = load_columns(task.right + std::ptrdiff_t{j} * task.out + column, count);
  const float* low = kRank == 0 ? nullptr : task.low + std::ptrdiff_t{row} * rank;
  const std::uint8_t* active = kRank == 0 ? nullptr : task.active + row;
  const Floats bias = task.bias ? load_columns(task.bias + column, count) : Floats::zero();
  for (int m = 0; m < rows; ++m, low += rank) {
    Floats value = Floats::load(sums + m * kStride);
    if (kRank != 0 && active[m]) {
      for (int j = 0; j < rank; ++j) value = fma(Floats::all(low[j]), right[j], value);
    }
    if (task.bias) value = value + bias;
    write(m, value);
  }
}

template <class Tile, int kRank>
void finish_tile_of_rank(const ProductTask& task, int row, int rows, int first_column, const float* tile_sums) {
  using Element = typename Tile::Element;
  const std::ptrdiff_t stride = task.y_stride;
  for (int v = 0; v < Tile::kPanel; v += kLanes) {
    const int column = first_column + v;
    const int count = task.out - column < kLanes ? task.out - column : kLanes;
    if (count <= 0) return;
    const std::ptrdiff_t first = row * stride + column - task.y_column;
    const auto finish = [&](const auto& write) {
      finish_columns<kRank, Tile::kPanel>(task, row, rows, column, count, tile_sums + v, write);
    };
    if (task.residual) {
      float* y = static_cast<float*>(task.y) + first;
      const float* residual = task.residual + first;
      finish([=](int m, Floats sum) {
        store_columns(load_columns(residual + m * stride, count) + sum, y + m * stride, count);
      });
    } else if (task.y_float) {
      float* y = static_cast<float*>(task.y) + first;
      finish([=](int m, Floats sum) { store_columns(sum, y + m * stride, count); });
    } else {
      Element* y = static_cast<Element*>(task.y) + first;
      finish([=](int m, Floats sum) { store_columns(sum, y + m * stride, count); });
    }
  }
}

template <class Tile>
void finish_tile(const ProductTask& task, int row, int rows, int first_column, const float* sums) {
  switch (task.rank) {
    case 0:
      return finish_tile_of_rank<Tile, 0>(task, row, rows, first_column, sums);
    case 1:
      return finish_tile_of_rank<Tile, 1>(task, row, rows, first_column, sums);
    case 2:
      return finish_tile_of_rank<Tile, 2>(task, row, rows, first_column, sums);
    default:
      return finish_tile_of_rank<Tile, -1>(task, row, rows, first_column, sums);
  }
}

}  // namespace tinylora::TINYLORA_ISA
