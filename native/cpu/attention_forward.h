// out = softmax(q k^T / sqrt(D)) v, page by page with a running softmax (attention_softmax.h): with p and m' of a page,
//   out = out e^(m - m') + p v
// then out / l, lse = m + log l. Each query has its own lanes, sums and order, so it has the same bits in any chunk;
// keys after its position are left out of every sum, not multiplied by zero: they may be anything.
#pragma once

#include "cpu/attention_chunk.h"
#include "cpu/attention_tile.h"

namespace tinylora::TINYLORA_ISA {

template <typename T>
using Block = QueryBlock<typename LeftOf<T>::Type, kAttentionRows>;

/// out = out * correction + p v. The queries of a block see more and more keys; those that have seen all of theirs drop
/// out.
template <typename T>
TINYLORA_INLINE void add_values(const Block<T>& block, int skip, const int* keys, const typename LeftOf<T>::Type* p,
                                const float* correction, const T* values, int head_dim) {
  for (int i = skip, from = 0; i < block.rows;) {
    const auto left = by_row(p + i * kPageSize, kPageSize);
    float* out = block.out + i * head_dim;
    const int pairs_end = keys[i] / 2 * 2;
    if (i == skip) {
      small_product(block.rows - i, {0, pairs_end}, left, values, head_dim, out, head_dim, FromScaled{correction + i});
    } else {
      small_product(block.rows - i, {from, pairs_end}, left, values, head_dim, out, head_dim, FromSums{});
    }
    int equal = 1;  // queries that see as many keys as this one: the heads of one row
    while (i + equal < block.rows && keys[i + equal] == keys[i]) ++equal;
    if (keys[i] > pairs_end) {
      small_product(equal, {pairs_end, keys[i]}, left, values, head_dim, out, head_dim, FromSums{});
    }
    from = pairs_end;
    i += equal;
  }
}

/// One page for one block of queries.
template <typename T>
void visit_page(const HeadShape& shape, const ChunkPositions& positions, Block<T>& block, int index, const T* keys,
                const T* values) {
  int seen[kAttentionRows];
  int skip = 0;  // the first queries may stand before the page
  for (int i = 0; i < block.rows; ++i) {
    seen[i] = positions.keys_seen(block.first + i, index);
    if (seen[i] <= 0) skip = i + 1;
  }
  if (skip == block.rows) return;

  alignas(64) float scores[kAttentionRows * kPageSize];
  alignas(64) float correction[RunningSoftmax<kAttentionRows>::kPadded];
  alignas(64) typename LeftOf<T>::Type p[kAttentionRows * kPageSize];
  const auto q = by_row(block.q + skip * shape.head_dim, shape.head_dim);
  small_product(block.rows - skip, {0, shape.head_dim}, q, keys, kPageSize, scores + skip * kPageSize, kPageSize,
                FromZero{});
  block.softmax.add_page(skip, block.rows, seen, shape.scale, scores, p, correction);
  add_values(block, skip, seen, p, correction, values, shape.head_dim);
}

template <typename T>
void attention_forward(const AttentionArgs& args, const QueryChunk& chunk) {
  const HeadShape shape(args);
  forward_chunk<T, typename LeftOf<T>::Type, kAttentionRows>(
      args, shape, chunk,
      [&](const ChunkPositions& positions, auto& queries, int index, const T* keys, const T* values) {
        for (int b = 0; b < queries.blocks; ++b) visit_page<T>(shape, positions, queries.block[b], index, keys, values);
      });
}

}  // namespace tinylora::TINYLORA_ISA
