// out = softmax(q k^T / sqrt(D)) v, page by page with a running softmax (attention_softmax.h): with p and m' of a page,
//   out = out e^(m - m') + p v
// then out / l, lse = m + log l. Each query has its own lanes, sums and order, so it has the same bits in any chunk;
// keys after its position are left out of every sum, not multiplied by zero: they may be anything.
#pragma once

#include "cpu/attention_queries.h"
#include "cpu/attention_softmax.h"
#include "cpu/attention_tile.h"

namespace tinylora::TINYLORA_ISA {

/// What a block of up to kAttentionRows queries carries from page to page.
template <typename T>
struct Block {
  using Left = typename LeftOf<T>::Type;

  Left* q;     // [rows, D]
  float* out;  // [rows, D]
  RunningSoftmax<kAttentionRows> softmax;
  int first;  // query of the chunk
  int rows;
};

/// out = out * correction + p v. The queries of a block see more and more keys; those that have seen all of theirs drop
/// out.
template <typename T>
TINYLORA_INLINE void add_values(const Block<T>& block, int skip, const int* keys, const typename Block<T>::Left* p,
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
  alignas(64) typename Block<T>::Left p[kAttentionRows * kPageSize];
  const auto q = by_row(block.q + skip * shape.head_dim, shape.head_dim);
  small_product(block.rows - skip, {0, shape.head_dim}, q, keys, kPageSize, scores + skip * kPageSize, kPageSize,
                FromZero{});
  block.softmax.add_page(skip, block.rows, seen, shape.scale, scores, p, correction);
  add_values(block, skip, seen, p, correction, values, shape.head_dim);
}

template <typename T>
void attention_forward(const AttentionArgs& args, const QueryChunk& chunk) {
  const HeadShape shape(args);
  const int dim = shape.head_dim;
  alignas(64) typename Block<T>::Left q[kQueryChunk * kMaxHeadDim];
  alignas(64) float out[kQueryChunk * kMaxHeadDim];
  Block<T> blocks[kQueryChunk / kAttentionRows];
  int block_count = 0;
  for (int i = 0; i < chunk.count; i += kAttentionRows) {
    Block<T>& block = blocks[block_count++];
    block.q = q + i * dim;
    block.out = out + i * dim;
    block.first = i;
    block.rows = smaller(chunk.count - i, kAttentionRows);
    block.softmax.start();
  }
  for (int i = 0; i < chunk.count; ++i) {
    const T* from = static_cast<const T*>(args.q) + shape.index(chunk.span, chunk.first + i, chunk.kv_head) * dim;
    copy_row(dim, from, q + i * dim);
  }
  for (int i = 0; i < chunk.count * dim; ++i) out[i] = 0;

  const ChunkPositions positions(shape, chunk.span, chunk.first, chunk.count);
  for_each_page<T>(shape, chunk, args.pages, positions.pages(), [&](int index, const T* keys, const T* values) {
    for (int b = 0; b < block_count; ++b) visit_page(shape, positions, blocks[b], index, keys, values);
  });

  for (int i = 0; i < chunk.count; ++i) {
    const std::ptrdiff_t index = shape.index(chunk.span, chunk.first + i, chunk.kv_head);
    float* lse = args.lse == nullptr ? nullptr : args.lse + index;
    blocks[i / kAttentionRows].softmax.finish(i % kAttentionRows, dim, out + i * dim,
                                              static_cast<T*>(args.out) + index * dim, lse);
  }
}

}  // namespace tinylora::TINYLORA_ISA
