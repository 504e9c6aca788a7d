// Arguments of kernels/product_half.cu and product_f32.cu: up to kMaxTasks products of one x in one launch.
#pragma once

#include <stdint.h>

namespace tinylora::cuda {

inline constexpr int kMaxTasks = 4;

/// y = residual + (x op(W) + left right) + bias. Forward: op(W) = W^T, n = out, k = in; backward: op(W) = W, n = in,
/// k = out.
struct ProductTask {
  const void* w;          // [padded out, w_stride]
  const float* left;      // [M, rank]: z R^T, or s R
  const float* right;     // [rank, n]: B transposed, or A
  const float* bias;      // [n] or none
  const float* residual;  // [M, n] or none
  void* y;                // [M, n]
  int n;
  int n_limit;  // n rounded up as the weight is padded: columns up to there may be read
  int w_stride;
  int rank;
  int first_tile;  // of this task among the column tiles of the launch
  int y_float;     // else act
  int pairs;       // n is even, and y and residual are aligned to 8 bytes: two neighbours are moved at once
  int fours;       // pairs, and n is a multiple of 4: four outputs of 16 bits are stored at once
};

/// Of shared memory, after the ring of stages: left of a tile's rows and right of its columns (product_update.cuh).
constexpr unsigned product_factor_bytes(int rank, int rows, int columns) {
  return 4U * static_cast<unsigned>(rank * (rows + columns));
}

struct ProductKernelArgs {
  const void* x;  // [M, x_stride] act, columns k.. zero
  int x_stride;
  int rows;
  int k;
  int tasks;
  ProductTask task[kMaxTasks];
};

}  // namespace tinylora::cuda
