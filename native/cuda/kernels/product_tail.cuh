// What the products of both dtypes share: which task a block works on, and how a finished sum becomes an output.
#pragma once

#include "act.cuh"
#include "product.h"

/// The task that column tile `tile` belongs to; `tile` becomes its tile within the task.
__device__ inline tinylora::cuda::ProductTask find_task(const tinylora::cuda::ProductKernelArgs& args, int& tile) {
  tinylora::cuda::ProductTask task = args.task[0];
#pragma unroll
  for (int i = 1; i < tinylora::cuda::kMaxTasks; ++i) {
    if (i < args.tasks && tile >= args.task[i].first_tile) task = args.task[i];
  }
  tile -= task.first_tile;
  return task;
}

/// y[row, column] = residual + (sum + bias); `sum` holds the update already.
template <typename Act>
__device__ inline void finish(const tinylora::cuda::ProductTask& task, int row, int column, float sum) {
  if (column >= task.n) return;
  const int64_t index = int64_t{row} * task.n + column;
  if (task.bias != nullptr) sum += task.bias[column];
  if (task.residual != nullptr) sum = task.residual[index] + sum;
  if (task.y_float) {
    static_cast<float*>(task.y)[index] = sum;
  } else {
    store(static_cast<Act*>(task.y) + index, sum);
  }
}
