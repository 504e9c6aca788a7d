// How the tensor-core products store what a thread holds of a row in C fragments: two neighbours at a time, or four of
// 16 bits, after trading two with the next lane, so that a row's 16 columns of two fragments are one sector and not
// halves of two (7 % of what gate and up ask of L2 on sm_90; 4 % in the smaller tiles of sm_80, which leave it at two).
#pragma once

#include "product_tail.cuh"
#include "warp.cuh"

/// Two neighbouring outputs, stored at once where their addresses allow it; y is float or Half.
template <typename Half>
__device__ void finish_pair(const tinylora::cuda::ProductTask& task, int row, int column, float first, float second) {
  if (!task.pairs) {
    finish<Half>(task, row, column, first);
    finish<Half>(task, row, column + 1, second);
    return;
  }
  if (column >= task.n) return;
  const int64_t index = int64_t{row} * task.n + column;
  if (task.bias != nullptr) first += task.bias[column], second += task.bias[column + 1];
  if (task.residual != nullptr) {
    const float2 residual = *reinterpret_cast<const float2*>(task.residual + index);
    first = residual.x + first, second = residual.y + second;
  }
  if (task.y_float) {
    *reinterpret_cast<float2*>(static_cast<float*>(task.y) + index) = make_float2(first, second);
  } else {
    *reinterpret_cast<uint32_t*>(static_cast<Half*>(task.y) + index) = pack<Half>(first, second);
  }
}

/// A thread's outputs in two fragments that are neighbours: `first` at `column` and the next, `second` 8 columns on.
/// All lanes of the warp must call, with `row` past `rows` where there is nothing to store.
template <typename Half>
__device__ void finish_fragments(const tinylora::cuda::ProductTask& task, int rows, int row, int column, float2 first,
                                 float2 second) {
  if (!task.fours || task.y_float) {
    if (row >= rows) return;
    finish_pair<Half>(task, row, column, first.x, first.y);
    finish_pair<Half>(task, row, column + 8, second.x, second.y);
    return;
  }
  if (task.bias != nullptr) {  // a residual has y in float
    if (column < task.n) first.x += task.bias[column], first.y += task.bias[column + 1];
    if (column + 8 < task.n) second.x += task.bias[column + 8], second.y += task.bias[column + 9];
  }
  // Of a pair of lanes, the even one takes the four columns of the first fragment, the odd one those of the second.
  const uint32_t words[2] = {pack<Half>(first.x, first.y), pack<Half>(second.x, second.y)};
  const bool odd = threadIdx.x % 2 == 1;
  const uint32_t traded = __shfl_xor_sync(tinylora::cuda::kWholeWarp, odd ? words[0] : words[1], 1);
  const int to = column / 4 * 4 + (odd ? 8 : 0);
  if (row >= rows || to >= task.n) return;
  *reinterpret_cast<uint2*>(static_cast<Half*>(task.y) + int64_t{row} * task.n + to) =
      odd ? make_uint2(traded, words[1]) : make_uint2(words[0], traded);
}
