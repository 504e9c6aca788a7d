// The pass over the vocabulary that scoring and sampling share.
#pragma once

#include "core/dtype.h"
#include "cuda/device.h"
#include "cuda/kernels/head.h"

namespace tinylora::cuda {

inline std::size_t stats_bytes(int rows, int chunks) {
  return std::size_t(rows) * std::size_t(chunks) * sizeof(ChunkStats);
}

/// Of `chunks` chunks. With the tile for few rows or for many: a row has the same bits in both.
void launch_head_stats(Device& device, DType dtype, const HeadStatsTask& task, int chunks);

}  // namespace tinylora::cuda
