// out = softmax(q k^T / sqrt(D)) v, page by page with a running maximum m and total l of each query:
//   s = q k^T / sqrt(D),  m' = max(m, max s),  p = e^(s - m'),  l = l e^(m - m') + sum p,  out = out e^(m - m') + p v
// then out / l, lse = m + log l. Each query has its own lanes, sums and order, so it has the same bits in any chunk; keys
// behind its position are left out of every sum, not multiplied by zero: they may be anything.
#pragma once

#include "cpu/attention_queries.h"
#include "cpu/attention_tile.h"

namespace tinylora::TINYLORA_ISA {

inline constexpr float kMinusInfinity = -__builtin_inff();

/// What a block of up to kAttentionRows queries carries from page to page.
struct Block {
  float* q;    // [rows, D]
  float* out;  // [rows, D]
  float largest[kLanes];
  float total[kLanes];
  int first;  // query of the span
  int rows;
};

/// scores [rows, kPageSize] become p; correction [rows] = e^(m - m').
TINYLORA_INLINE void softmax_page(Block& block, int skip, const int* keys, float scale, float* scores, float* correction) {
  float before[kLanes] = {};  // m
  float after[kLanes] = {};   // m'
  for (int i = skip; i < block.rows; ++i) {
    float* s = scores + i * kPageSize;
    Floats top = Floats::all(kMinusInfinity);
    for (int t = 0; t < kPageSize; t += kLanes) {
      const int seen = keys[i] - t;
      Floats value = Floats::load(s + t) * Floats::all(scale);
      if (seen < kLanes) value = first(seen < 0 ? 0 : seen, value, Floats::all(kMinusInfinity));
      value.store(s + t);
      top = max(top, value);
    }
    const float in_page = largest(top);
    before[i] = block.largest[i];
    after[i] = in_page > before[i] ? in_page : before[i];
  }
  exp(Floats::load(before) - Floats::load(after)).store(correction);
  for (int i = skip; i < block.rows; ++i) {
    float* s = scores + i * kPageSize;
    Floats total = Floats::zero();
    for (int t = 0; t < kPageSize; t += kLanes) {
      const Floats p = exp(Floats::load(s + t) - Floats::all(after[i]));
      p.store(s + t);
      total = total + p;
    }
    block.largest[i] = after[i];
    block.total[i] = block.total[i] * correction[i] + sum(total);
  }
}

/// out = out * correction + p v. The queries of a block see more and more keys; those that have seen all of theirs drop out.
template <typename T>
TINYLORA_INLINE void add_values(const Block& block, int skip, const int* keys, const float* scores, const float* correction,
                                const T* values, int head_dim) {
  int from = 0;
  for (int i = skip; i < block.rows;) {
    const Range range = {from, keys[i]};
    const ByRow p = {scores + i * kPageSize, kPageSize};
    float* out = block.out + i * head_dim;
    if (from == 0) {
      small_product(block.rows - i, range, p, values, head_dim, out, head_dim, FromScaled{correction + i});
    } else {
      small_product(block.rows - i, range, p, values, head_dim, out, head_dim, FromSums{});
    }
    from = keys[i];
    while (i < block.rows && keys[i] == from) ++i;
  }
}

/// One page for one block of queries.
template <typename T>
void visit_page(const HeadShape& shape, const QueryChunk& chunk, Block& block, int index, const T* keys, const T* values) {
  int seen[kAttentionRows];
  int skip = 0;  // the first queries may stand before the page
  for (int i = 0; i < block.rows; ++i) {
    seen[i] = shape.keys_seen(chunk.span, block.first + i, index);
    if (seen[i] <= 0) skip = i + 1;
  }
  if (skip == block.rows) return;

  alignas(64) float scores[kAttentionRows * kPageSize];
  alignas(64) float correction[kLanes];
  const ByRow q = {block.q + skip * shape.head_dim, shape.head_dim};
  small_product(block.rows - skip, {0, shape.head_dim}, q, keys, kPageSize, scores + skip * kPageSize, kPageSize, FromZero{});
  softmax_page(block, skip, seen, shape.scale, scores, correction);
  add_values(block, skip, seen, scores, correction, values, shape.head_dim);
}

template <typename T>
void attention_forward(const AttentionArgs& args, const QueryChunk& chunk) {
  const HeadShape shape(args);
  const int dim = shape.head_dim;
  alignas(64) float q[kChunk * kMaxHeadDim];
  alignas(64) float out[kChunk * kMaxHeadDim];
  Block blocks[kChunk / kAttentionRows];
  int block_count = 0;
  for (int i = 0; i < chunk.count; i += kAttentionRows) {
    Block& block = blocks[block_count++];
    block.q = q + i * dim;
    block.out = out + i * dim;
    block.first = chunk.first + i;
    block.rows = smaller(chunk.count - i, kAttentionRows);
    for (int lane = 0; lane < kLanes; ++lane) {
      block.largest[lane] = kMinusInfinity;
      block.total[lane] = 0;
    }
  }
  for (int i = 0; i < chunk.count; ++i) {
    const T* from = static_cast<const T*>(args.q) + shape.index(chunk.span, chunk.first + i, chunk.kv_head) * dim;
    copy_row(dim, from, q + i * dim);
  }
  for (int i = 0; i < chunk.count * dim; ++i) out[i] = 0;

  const int pages = shape.pages_seen(chunk.span, chunk.first + chunk.count - 1);
  for (int index = 0; index < pages; ++index) {
    const int page = shape.page(chunk.span, index);
    const T* keys = shape.page_data<T>(args.pages.keys, page, chunk.kv_head);
    const T* values = shape.page_data<T>(args.pages.values, page, chunk.kv_head);
    for (int b = 0; b < block_count; ++b) visit_page(shape, chunk, blocks[b], index, keys, values);
  }

  for (int i = 0; i < chunk.count; ++i) {
    const Block& block = blocks[i / kAttentionRows];
    const float total = block.total[i % kAttentionRows];
    const std::ptrdiff_t index = shape.index(chunk.span, chunk.first + i, chunk.kv_head);
    store_scaled(dim, out + i * dim, 1.0F / total, static_cast<T*>(args.out) + index * dim);
    if (args.lse != nullptr) args.lse[index] = block.largest[i % kAttentionRows] + __builtin_logf(total);
  }
}

}  // namespace tinylora::TINYLORA_ISA
