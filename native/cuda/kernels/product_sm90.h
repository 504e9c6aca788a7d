// Arguments of kernels/product_sm90.cu: those of the products of sm_80, and where TMA finds x and the weights.
#pragma once

#include "product.h"
#include "tensor_map.h"
#include "tiles_sm90.h"

namespace tinylora::cuda {

struct ProductSm90Args {
  TensorMap x;             // [M, x_stride], box [rows of a tile, 64]
  TensorMap w[kMaxTasks];  // [padded out, w_stride], box [columns that a block loads, 64]; backward [64, 64]
  ProductKernelArgs product;
  int row_tiles;  // of a cluster
  int tiles;      // row_tiles x column tiles of all tasks
};

}  // namespace tinylora::cuda
