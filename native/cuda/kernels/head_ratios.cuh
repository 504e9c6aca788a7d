// What takes sums of e^l W, and the e^l of a group of chunks, to one unit (head_unit.cuh): the largest of the group.
#pragma once

#include "head.h"
#include "head_unit.cuh"
#include "mma.cuh"
#include "warp.cuh"

namespace tinylora::cuda {

/// Of a tile's rows.
template <typename Act, int kRows>
struct UnitRatios {
  Act of_chunk[kGroupChunks][kRows];  // e^l
  float of_sums[kRows];               // dx as it comes
  unsigned not_one[kRows / 32];       // chunks with another number than 1 for one of 32 rows: a bit each

  /// By threads 0 .. kRows - 1 at least, a row each; others may call. `hands_on`: this tile's block writes what was
  /// made. A barrier of all of them must follow.
  __device__ void fill(const HeadProductTask& task, int first_row, bool hands_on) {
    const int i = static_cast<int>(threadIdx.x), row = first_row + i;
    if (i >= kRows) return;
    const bool valid = row < task.rows;
    const int chunks = (task.tokens + kVocabChunk - 1) / kVocabChunk;
    ExponentialSum sum = {kMinusInfinity, 0, kMinusInfinity};
    if (valid && task.first_token > 0) sum = task.before[row];
    float units[kGroupChunks];
    float unit = kMinusInfinity;  // of a group after others it is at least what those have for the next
#pragma unroll
    for (int c = 0; c < kGroupChunks; ++c) {
      units[c] = valid && c < chunks ? task.made[c * task.rows + row].unit : kMinusInfinity;
      unit = fmaxf(unit, units[c]);
    }
    unsigned changed = 0;
#pragma unroll
    for (int c = 0; c < kGroupChunks; ++c) {
      store(&of_chunk[c][i], unit_ratio(units[c], unit));
      if (valid && c < chunks && units[c] != unit) changed |= 1U << c;
    }
    changed = __reduce_or_sync(kWholeWarp, changed);
    if (i % 32 == 0) not_one[i / 32] = changed;
    of_sums[i] = unit_ratio(sum.unit, unit);
    if (valid && hands_on) task.after[row] = total(task, row, chunks, sum, unit);
  }

  /// Whether one of kCount rows from `row` on is in another unit in that chunk.
  template <int kCount>
  __device__ bool changed(int row, int chunk) const {
    unsigned bits = not_one[row / 32];
    if constexpr (kCount == 64) bits |= not_one[row / 32 + 1];
    return (bits >> chunk & 1) != 0;
  }

  /// Of the chunks before and those of the group.
  static __device__ ExponentialSum total(const HeadProductTask& task, int row, int chunks, ExponentialSum sum,
                                         float unit) {
    sum.sum *= unit_ratio(sum.unit, unit);
    for (int c = 0; c < chunks; ++c) {
      const ExponentialSum& made = task.made[c * task.rows + row];
      sum.sum = fmaf(made.sum, unit_ratio(made.unit, unit), sum.sum);
      sum.next_unit = fmaxf(sum.next_unit, made.next_unit);
    }
    sum.unit = unit;
    return sum;
  }
};

/// A pair of numbers in a word times one number, in all bits but where they are too small for Half.
template <typename Half>
__device__ std::uint32_t times(std::uint32_t pair, Half factor) {
  if constexpr (std::is_same_v<Half, __half>) {
    const __half2 product = __hmul2(*reinterpret_cast<const __half2*>(&pair), __half2half2(factor));
    return *reinterpret_cast<const std::uint32_t*>(&product);
  } else {
    const __nv_bfloat162 product =
        __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&pair), __bfloat162bfloat162(factor));
    return *reinterpret_cast<const std::uint32_t*>(&product);
  }
}

}  // namespace tinylora::cuda
