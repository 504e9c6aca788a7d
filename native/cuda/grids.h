// Grids of which two sides grow with a batch. A device takes 2^31 - 1 blocks along x and kMostAside along y and z: what
// a batch may have any number of is along x.
#pragma once

#include "cuda/kernels/lora_gradient.h"
#include "cuda/launch.h"
#include "ops/attention.h"

namespace tinylora::cuda {

/// A block for each page that a span may read, and kv head: spans, pages, kv heads. Pages are those of a context.
inline Dim3 page_grid(const SequenceLayout& layout, int kv_heads) {
  const int pages = layout.rows > 0 ? layout.max_position / kPageSize + 1 : 0;
  return {static_cast<unsigned>(layout.spans), static_cast<unsigned>(pages), static_cast<unsigned>(kv_heads)};
}

/// A block for each run of rows and tile of columns of lora_gradient.
inline Dim3 lora_grid(int rows, int width) { return {ceil_div(rows, kLoraRun), ceil_div(width, kLoraColumns)}; }

}  // namespace tinylora::cuda
