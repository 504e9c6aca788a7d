// The low-rank factors of packed rows: z = x left^T (r numbers a row), low = z R_k^T (backward: z R_k).
// Each z[m, j] is summed in one vector, inputs ascending, then across its lanes in a fixed order.
#pragma once

#include "cpu/product_kernels.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

template <class In, int kRows, int kRanks>
TINYLORA_INLINE void dot_ranks(const In* x, int in, const float* left, float* z, int rank) {
  Floats sums[kRows][kRanks];
  for (auto& row : sums) {
    for (Floats& s : row) s = Floats::zero();
  }
  const auto add = [&](int i, auto... count) {
    Floats a[kRanks];
    for (int j = 0; j < kRanks; ++j) a[j] = Floats::load(left + std::ptrdiff_t{j} * in + i, count...);
    for (int m = 0; m < kRows; ++m) {
      const Floats value = Floats::load(x + std::ptrdiff_t{m} * in + i, count...);
      for (int j = 0; j < kRanks; ++j) sums[m][j] = fma(value, a[j], sums[m][j]);
    }
  };
  int i = 0;
  for (; i + kLanes <= in; i += kLanes) add(i);
  if (i < in) add(i, in - i);
  for (int m = 0; m < kRows; ++m) {
    for (int j = 0; j < kRanks; ++j) z[m * rank + j] = sum(sums[m][j]);
  }
}

template <class In, int kRows>
void dot_rows_with_ranks(const In* x, int in, const float* left, float* z, int rank) {
  int j = 0;
  for (; j + 2 <= rank; j += 2) dot_ranks<In, kRows, 2>(x, in, left + std::ptrdiff_t{j} * in, z + j, rank);
  if (j < rank) dot_ranks<In, kRows, 1>(x, in, left + std::ptrdiff_t{j} * in, z + j, rank);
}

template <class In>
void low_rank_rows(const PackTask& task, const LowRankTask& low_rank) {
  const LowRank& side = low_rank.side;
  const int rank = side.rank;
  const auto* x = static_cast<const In*>(task.x);
  float* z_rows = low_rank.z + std::ptrdiff_t{task.first_row} * rank;
  float* low_rows = low_rank.low + std::ptrdiff_t{task.first_row} * rank;
  std::uint8_t* active_rows = low_rank.active + task.first_row;
  const std::int32_t* adapter = side.adapter + task.first_row;
  int m = 0;
  for (; m + 4 <= task.rows; m += 4) {
    dot_rows_with_ranks<In, 4>(x + std::ptrdiff_t{m} * task.in, task.in, side.left, z_rows + m * rank, rank);
  }
  for (; m < task.rows; ++m) {
    dot_rows_with_ranks<In, 1>(x + std::ptrdiff_t{m} * task.in, task.in, side.left, z_rows + m * rank, rank);
  }
  for (m = 0; m < task.rows; ++m) {
    const int k = adapter[m];
    const float* z = z_rows + m * rank;
    const float* r = side.r + std::ptrdiff_t{k < 0 ? 0 : k} * rank * rank;
    bool active = false;
    for (int i = 0; i < rank; ++i) {
      float low = 0;
      for (int j = 0; k >= 0 && j < rank; ++j) low += z[j] * (side.transposed ? r[j * rank + i] : r[i * rank + j]);
      low_rows[m * rank + i] = low;
      active = active || low != 0;
    }
    active_rows[m] = active;
  }
}

}  // namespace tinylora::TINYLORA_ISA
