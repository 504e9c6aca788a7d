// out = softmax(q k^T / sqrt(D)) v, page by page with a running maximum m and total l of each query:
//   s = q k^T / sqrt(D),  m' = max(m, max s),  p = e^(s - m'),  l = l e^(m - m') + sum p,  out = out e^(m - m') + p v
// then out / l, lse = m + log l. Each query has its own lanes, sums and order, so it has the same bits in any chunk;
// keys behind its position are left out of every sum, not multiplied by zero: they may be anything.
#pragma once

#include "cpu/attention_queries.h"
#include "cpu/attention_tile.h"

namespace tinylora::TINYLORA_ISA {

inline constexpr float kMinusInfinity = -__builtin_inff();

/// What a block of up to kAttentionRows queries carries from page to page.
template <typename T>
struct Block {
  using Left = typename LeftOf<T>::Type;

  Left* q;     // [rows, D]
  float* out;  // [rows, D]
  float largest[kLanes];
  float total[kLanes];
  int first;  // query of the span
  int rows;
};

/// p from scores, both [rows, kPageSize]; correction [rows] = e^(m - m').
template <typename T>
TINYLORA_INLINE void softmax_page(Block<T>& block, int skip, const int* keys, float scale, float* scores,
                                  typename Block<T>::Left* p, float* correction) {
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
    Floats total = Floats::zero();
    for (int t = i * kPageSize; t < (i + 1) * kPageSize; t += kLanes) {
      const Floats weight = exp(Floats::load(scores + t) - Floats::all(after[i]));
      weight.store(p + t);
      total = total + weight;
    }
    block.largest[i] = after[i];
    block.total[i] = block.total[i] * correction[i] + sum(total);
  }
}

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
void visit_page(const HeadShape& shape, const QueryChunk& chunk, Block<T>& block, int index, const T* keys,
                const T* values) {
  int seen[kAttentionRows];
  int skip = 0;  // the first queries may stand before the page
  for (int i = 0; i < block.rows; ++i) {
    seen[i] = shape.keys_seen(chunk.span, block.first + i, index);
    if (seen[i] <= 0) skip = i + 1;
  }
  if (skip == block.rows) return;

  alignas(64) float scores[kAttentionRows * kPageSize];
  alignas(64) float correction[kLanes];
  alignas(64) typename Block<T>::Left p[kAttentionRows * kPageSize];
  const auto q = by_row(block.q + skip * shape.head_dim, shape.head_dim);
  small_product(block.rows - skip, {0, shape.head_dim}, q, keys, kPageSize, scores + skip * kPageSize, kPageSize,
                FromZero{});
  softmax_page(block, skip, seen, shape.scale, scores, p, correction);
  add_values(block, skip, seen, p, correction, values, shape.head_dim);
}

/// Asks for one head's part of a page ahead of time: pages lie anywhere in memory, so the processor cannot guess the
/// next. A single query is done with a page before the next one could arrive.
template <typename T>
TINYLORA_INLINE void prefetch_page(const T* data, int head_dim) {
  const char* bytes = reinterpret_cast<const char*>(data);
  const int count = kPageSize * head_dim * static_cast<int>(sizeof(T));
  for (int i = 0; i < count; i += 64) _mm_prefetch(bytes + i, _MM_HINT_T0);
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
    if (index + 1 < pages) {
      const int next = shape.page(chunk.span, index + 1);
      prefetch_page(shape.page_data<T>(args.pages.keys, next, chunk.kv_head), dim);
      prefetch_page(shape.page_data<T>(args.pages.values, next, chunk.kv_head), dim);
    }
    for (int b = 0; b < block_count; ++b) visit_page(shape, chunk, blocks[b], index, keys, values);
  }

  for (int i = 0; i < chunk.count; ++i) {
    const Block<T>& block = blocks[i / kAttentionRows];
    const float total = block.total[i % kAttentionRows];
    const std::ptrdiff_t index = shape.index(chunk.span, chunk.first + i, chunk.kv_head);
    T* to = static_cast<T*>(args.out) + index * dim;
    for_vectors(dim, [&](std::ptrdiff_t d, auto lanes) {
      store(load(out + i * dim + d, lanes) * Floats::all(1.0F / total), to + d, lanes);
    });
    if (args.lse != nullptr) args.lse[index] = block.largest[i % kAttentionRows] + __builtin_logf(total);
  }
}

}  // namespace tinylora::TINYLORA_ISA
