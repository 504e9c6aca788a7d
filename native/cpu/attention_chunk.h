// A chunk of queries on its way through the pages of its sequence, in attention's forward pass: what all instruction
// sets have in common. Sequences that decode behind the same prompt read its pages together, so that a page costs as
// much for 16 queries as for the few of one sequence; then each reads its own. A query's sums go from page to page in
// the same order either way.
#pragma once

#include <cstring>

#include "cpu/attention_queries.h"
#include "cpu/attention_softmax.h"

namespace tinylora::TINYLORA_ISA {

/// Up to kRows queries of a chunk, and what they carry from page to page.
template <class Left, int kRows>
struct QueryBlock {
  Left* q;     // [kRows, D], rows past the last query are zeros
  float* out;  // [kRows, D]
  RunningSoftmax<kRows> softmax;
  int first;  // query of the chunk
  int rows;
};

/// Queries first .. first + count - 1 of a chunk, at most kMost.
template <class Left, int kRows, int kMost>
struct QueryBlocks {
  QueryBlock<Left, kRows> block[kMost / kRows];
  int blocks = 0;
  int first, count, dim;
  alignas(64) Left q[kMost * kMaxHeadDim];
  alignas(64) float out[kMost * kMaxHeadDim];

  TINYLORA_INLINE QueryBlocks(int first_query, int queries, int head_dim)
      : first(first_query), count(queries), dim(head_dim) {
    for (int i = 0; i < count; i += kRows) {
      QueryBlock<Left, kRows>& next = block[blocks++];
      next.q = q + i * dim;
      next.out = out + i * dim;
      next.first = first + i;
      next.rows = smaller(count - i, kRows);
      next.softmax.start();
    }
    std::memset(static_cast<void*>(q + count * dim), 0, std::size_t((blocks * kRows - count) * dim) * sizeof(Left));
    std::memset(static_cast<void*>(out), 0, std::size_t(blocks * kRows * dim) * sizeof(float));
  }

  TINYLORA_INLINE int last() const { return first + count - 1; }

  template <class T>
  TINYLORA_INLINE void read(const AttentionArgs& args, const HeadShape& shape, const QueryChunk& chunk) {
    for (int i = 0; i < count; ++i) {
      copy_row(dim, static_cast<const T*>(args.q) + place(shape, chunk, i) * dim, q + i * dim);
    }
  }

  /// The queries go on from where they are in `before`.
  template <class Before>
  TINYLORA_INLINE void go_on_from(const Before& before) {
    const int skip = first - before.first;
    std::memcpy(static_cast<void*>(q), before.q + skip * dim, std::size_t(count * dim) * sizeof(Left));
    std::memcpy(out, before.out + skip * dim, std::size_t(count * dim) * sizeof(float));
    for (int i = 0; i < count; ++i) {
      const int j = skip + i;
      block[i / kRows].softmax.take(i % kRows, before.block[j / kRows].softmax, j % kRows);
    }
  }

  template <class T>
  TINYLORA_INLINE void write(const AttentionArgs& args, const HeadShape& shape, const QueryChunk& chunk) const {
    for (int i = 0; i < count; ++i) {
      const std::ptrdiff_t index = place(shape, chunk, i);
      float* lse = args.lse == nullptr ? nullptr : args.lse + index;
      block[i / kRows].softmax.finish(i % kRows, dim, out + i * dim, static_cast<T*>(args.out) + index * dim, lse);
    }
  }

 private:
  TINYLORA_INLINE std::ptrdiff_t place(const HeadShape& shape, const QueryChunk& chunk, int i) const {
    return shape.index(chunk.span, chunk.first + first + i, chunk.kv_head);
  }
};

/// visit(positions, queries, index, keys, values) takes QueryBlocks through one page.
template <class T, class Left, int kRows, class Visit>
TINYLORA_INLINE void forward_chunk(const AttentionArgs& args, const HeadShape& shape, const QueryChunk& chunk,
                                   const Visit& visit) {
  const ChunkPositions positions(shape, chunk.span, chunk.first, chunk.count);
  const auto go = [&](auto& queries, int span, int first, int last) {
    for_each_page<T>(
        shape, span, chunk.kv_head, args.pages, first, last,
        [&](int index, const T* keys, const T* values) { visit(positions, queries, index, keys, values); });
  };
  QueryBlocks<Left, kRows, kQueryChunk> all(0, chunk.count, shape.head_dim);
  all.template read<T>(args, shape, chunk);
  if (chunk.spans == 1) {
    go(all, chunk.span, 0, positions.pages_of(chunk.count - 1));
    return all.template write<T>(args, shape, chunk);
  }
  go(all, chunk.span, 0, chunk.shared);
  for (int i = 0; i < chunk.spans; ++i) {
    QueryBlocks<Left, kRows, kQueryChunk / 2> own(i * shape.group, shape.group, shape.head_dim);
    own.go_on_from(all);
    go(own, chunk.span + i, chunk.shared, positions.pages_of(own.last()));
    own.template write<T>(args, shape, chunk);
  }
}

}  // namespace tinylora::TINYLORA_ISA
