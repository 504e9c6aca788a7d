// Arguments of the head's kernels on sm_90a: those of head.h, and where TMA finds the operands.
#pragma once

#include "head.h"
#include "tensor_map.h"
#include "tiles_sm90.h"

namespace tinylora::cuda {

/// head_stats_sm90.cu: x W^T of the launch's chunks.
struct HeadStatsSm90Args {
  TensorMap x;  // [rows, x_stride], box [rows of a tile, 64]
  TensorMap w;  // [padded vocab, w_stride], box [tokens that a block loads, 64]
  HeadStatsTask task;
  int row_tiles;  // of a cluster
  int tiles;      // row_tiles x tiles of tokens
};

/// head_sample_sm90.cu.
struct HeadSampleSm90Args {
  TensorMap x;  // [rows, x_stride], box [64, 64]
  TensorMap w;  // [padded vocab, w_stride], box [kVocabChunk, 64]
  HeadSampleTask task;
};

/// Of shared memory behind the ring: UnitRatios (head_ratios.cuh) of a tile's rows.
constexpr unsigned ratio_bytes(int rows) {
  return static_cast<unsigned>(rows * (kGroupChunks * 2 + 4) + rows / 32 * 4);
}

/// head_product_sm90.cu: e^l W of a group, e^l and W as they lie.
struct HeadProductSm90Args {
  TensorMap exponentials;  // [rows, stride], box [rows of a tile, 64]
  TensorMap w;             // [padded vocab, w_stride], box [64, 64]
  HeadProductTask task;
  int row_tiles;  // of a cluster
  int tiles;      // row_tiles x column tiles of dx
};

}  // namespace tinylora::cuda
