// How the tensor-core products store what one thread holds of a row: two neighbours at a time.
#pragma once

#include "product_tail.cuh"

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
