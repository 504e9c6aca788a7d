// Which queries a block works on. The queries of a span and kv head are numbered row by row, the G = H / K heads of a
// row side by side: neighbours read the same keys. Spans are cut into tiles of `size` queries; a block finds its tile
// by walking the spans' sizes, a warp's width at a time, so the host need not know them.
#pragma once

#include "../../ops/attention.h"
#include "warp.cuh"

namespace tinylora::cuda {

struct SpanTile {
  int span = -1;  // none: the grid has more blocks than there are tiles
  int first = 0;  // query of the span
  int count = 0;
};

/// The last tiles of a span see the most keys: they start first, so that no block is left alone with one at the end.
__device__ inline int heaviest_first() { return static_cast<int>(gridDim.x - 1 - blockIdx.x); }

/// The `index`-th tile, the same in every lane. All lanes of the warp must call.
__device__ inline SpanTile find_tile(const SequenceLayout& layout, int group, int size, int index) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int from = 0, before = 0; from < layout.spans; from += 32) {
    const int span = from + lane;
    const int queries = span < layout.spans ? layout.span_rows[span] * group : 0;
    const int tiles = (queries + size - 1) / size;
    int up_to = tiles;  // inclusive sum over the lanes
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(kWholeWarp, up_to, step);
      if (lane >= step) up_to += other;
    }
    const unsigned behind = __ballot_sync(kWholeWarp, before + up_to > index);
    if (behind != 0) {
      const int owner = __ffs(static_cast<int>(behind)) - 1;
      const int first = (index - before - __shfl_sync(kWholeWarp, up_to - tiles, owner)) * size;
      const int left = __shfl_sync(kWholeWarp, queries, owner) - first;
      return {from + owner, first, left < size ? left : size};
    }
    before += __shfl_sync(kWholeWarp, up_to, 31);
  }
  return {};
}

}  // namespace tinylora::cuda
