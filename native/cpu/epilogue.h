// What happens to a finished tile, in float: + low right (the low-rank update), + bias, then rounding, or the residual
// add.
#pragma once

#include "cpu/product_kernels.h"
#include "cpu/simd.h"
#include "ops/linear.h"

namespace tinylora::TINYLORA_ISA {

/// kVectors vectors of columns, of the last one `count`.
template <int kVectors>
struct Columns {
  Floats vector[kVectors];

  TINYLORA_INLINE static Columns load(const float* p, int count) {
    Columns result;
    for (int v = 0; v + 1 < kVectors; ++v) result.vector[v] = Floats::load(p + v * kLanes);
    const float* last = p + (kVectors - 1) * kLanes;
    result.vector[kVectors - 1] = count == kLanes ? Floats::load(last) : Floats::load(last, count);
    return result;
  }
  template <class Out>
  TINYLORA_INLINE void store(Out* p, int count) const {
    for (int v = 0; v + 1 < kVectors; ++v) vector[v].store(p + v * kLanes);
    Out* last = p + (kVectors - 1) * kLanes;
    if (count == kLanes) {
      vector[kVectors - 1].store(last);
    } else {
      vector[kVectors - 1].store(last, count);
    }
  }
  TINYLORA_INLINE void add(const Columns& other) {
    for (int v = 0; v < kVectors; ++v) vector[v] = vector[v] + other.vector[v];
  }
  TINYLORA_INLINE void add_product(float factor, const Columns& other) {
    for (int v = 0; v < kVectors; ++v) vector[v] = fma(Floats::all(factor), other.vector[v], vector[v]);
  }
};

/// Columns of the rows of a tile: write(m, columns) gets row m's. kRank -1 is any rank.
template <int kRank, int kVectors, int kStride, class Write>
TINYLORA_INLINE void finish_columns(const ProductTask& task, int row, int rows, int column, int count,
                                    const float* sums, const Write& write) {
  using Part = Columns<kVectors>;
  constexpr int kMost = kRank < 0 ? kMaxRank : kRank;
  const int rank = kRank < 0 ? task.rank : kRank;
  Part right[kMost == 0 ? 1 : kMost];
  for (int j = 0; j < rank; ++j) right[j] = Part::load(task.right + std::ptrdiff_t{j} * task.out + column, count);
  const float* low = kRank == 0 ? nullptr : task.low + std::ptrdiff_t{row} * rank;
  const std::uint8_t* active = kRank == 0 ? nullptr : task.active + row;
  Part bias{};
  if (task.bias) bias = Part::load(task.bias + column, count);
  for (int m = 0; m < rows; ++m, low += rank) {
    Part value = Part::load(sums + m * kStride, kLanes);
    if (kRank != 0 && active[m]) {
      for (int j = 0; j < rank; ++j) value.add_product(low[j], right[j]);
    }
    if (task.bias) value.add(bias);
    write(m, value);
  }
}

template <class Tile, int kRank, int kVectors>
TINYLORA_INLINE void finish_part(const ProductTask& task, int row, int rows, int column, int count, const float* sums) {
  using Part = Columns<kVectors>;
  using Element = typename Tile::Element;
  const std::ptrdiff_t stride = task.y_stride;
  const std::ptrdiff_t first = row * stride + column - task.y_column;
  const auto finish = [&](const auto& write) {
    finish_columns<kRank, kVectors, Tile::kPanel>(task, row, rows, column, count, sums, write);
  };
  if (task.residual) {
    float* y = static_cast<float*>(task.y) + first;
    const float* residual = task.residual + first;
    finish([=](int m, const Part& sum) {
      Part value = Part::load(residual + m * stride, count);
      value.add(sum);
      value.store(y + m * stride, count);
    });
  } else if (task.y_float) {
    float* y = static_cast<float*>(task.y) + first;
    finish([=](int m, const Part& sum) { sum.store(y + m * stride, count); });
  } else {
    Element* y = static_cast<Element*>(task.y) + first;
    if constexpr (Tile::kBeside && kVectors == 2 && kLanes == 16) {
      if (task.y_uncached) {
        return finish([=](int m, const Part& sum) { stream(sum.vector[0], sum.vector[1], y + m * stride); });
      }
    }
    finish([=](int m, const Part& sum) { sum.store(y + m * stride, count); });
  }
}

/// Whole rows of a whole tile; of one that the matrix ends in, vector by vector. So for any rank, for which the
/// registers do not suffice otherwise.
template <class Tile, int kRank>
void finish_tile_of_rank(const ProductTask& task, int row, int rows, int first_column, const float* sums) {
  if (kRank >= 0 && task.out - first_column >= Tile::kPanel) {
    return finish_part<Tile, kRank, Tile::kPanel / kLanes>(task, row, rows, first_column, kLanes, sums);
  }
  for (int v = 0; v < Tile::kPanel; v += kLanes) {
    const int column = first_column + v;
    const int count = task.out - column < kLanes ? task.out - column : kLanes;
    if (count <= 0) return;
    finish_part<Tile, kRank, 1>(task, row, rows, column, count, sums + v);
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
