// Tiles of queries and of their d_out, streamed through shared memory past a page that stays there (attention_dkv_* of
// attention_backward_half.cu).
#pragma once

#include "attention.h"
#include "attention_readers.cuh"
#include "mma.cuh"

namespace tinylora::cuda {

/// A stage of the stream: a tile of queries, zeros past the last one, which add 0 to every sum. The second term of
/// d_out is copied later, to one buffer that all stages share.
template <typename Half, int kDim>
struct QueryStage {
  uint4 q[kQueryTile * kDim / 8];
  uint4 d_out[kQueryTile * kDim / 8];
};
struct alignas(8) QueryNumbers {  // read two at a time
  float lse[kQueryTile];
  float delta[kQueryTile];
  int position[kQueryTile];
};

/// The queries of a span from `first` on, a tile of them.
struct TileOfQueries {
  int group, apart, start, first, count, first_row;
  unsigned factor;  // n / G = high word of n ceil(2^32 / G), for n G below 2^32; that of G = 1 does not fit

  __device__ TileOfQueries(const Heads& heads, int span, int from)
      : group(heads.group()),
        apart(heads.task.args.heads - group),
        start(static_cast<int>(heads.index(span, 0)) + from),
        first(from),
        count(heads.task.layout.span_rows[span] * group - from),
        first_row(heads.task.layout.span_row[span]),
        factor(0xffffffffU / static_cast<unsigned>(group) + 1) {}
  __device__ int row(int query) const {
    const auto n = static_cast<unsigned>(first + query);
    return static_cast<int>(factor == 0 ? n : __umulhi(n, factor));
  }
  /// Place of the query in [M, H].
  __device__ int index(int query) const { return start + query + row(query) * apart; }
};

/// Calls copy(to, from, valid) for chunk `to` of a tile [32, kDim] and the element `from` of [M, H, D] that it begins
/// with.
template <int kDim, class Copy>
__device__ void for_each_chunk(const TileOfQueries& queries, int dim, Copy copy) {
  constexpr int kChunks = kDim / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kQueryTile * kChunks; i += kQueryThreads) {
    const int query = i / kChunks, chunk = i % kChunks;
    const bool valid = query < queries.count && chunk * 8 < dim;
    const long long from = valid ? static_cast<long long>(queries.index(query)) * dim + chunk * 8 : 0;
    copy(swizzled<kChunks>(query, chunk), from, valid);
  }
}

__device__ void copy_numbers(const TileOfQueries& queries, const AttentionBackwardTask& task, QueryNumbers& numbers) {
  const int query = static_cast<int>(threadIdx.x);
  if (query >= kQueryTile) return;
  const bool valid = query < queries.count;
  const int index = valid ? queries.index(query) : 0;
  const int row = valid ? queries.first_row + queries.row(query) : 0;
  copy_word_async(numbers.lse + query, task.args.lse + index, valid);
  copy_word_async(numbers.delta + query, task.delta + index, valid);
  copy_word_async(numbers.position + query, task.layout.position + row, valid);
}

}  // namespace tinylora::cuda
