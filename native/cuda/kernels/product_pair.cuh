// How the tensor-core products store what one thread holds of a row: two neighbours at a time.
#pragma once

#include "product_tail.cuh"

/// Two neighbouring outputs, stored at once where their addresses allow it.
__device__ inline void finish_pair(const tinylora::cuda::ProductTask& task, int row, int column, float first,
                                   float second) {
  if (!task.pairs) {
    finish<__nv_bfloat16>(task, row, column, first);
    finish<__nv_bfloat16>(task, row, column + 1, second);
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
    *reinterpret_cast<uint32_t*>(static_cast<__nv_bfloat16*>(task.y) + index) = pack_bf16(first, second);
  }
}
