// Where the queries of a chunk, the pages that they read and the gradients of a page lie in memory (layout:
// attention_kernels.h).
#pragma once

#include <cstddef>

#include "cpu/attention_kernels.h"
#include "cpu/lanes.h"

namespace tinylora::TINYLORA_ISA {

TINYLORA_INLINE int smaller(int a, int b) { return a < b ? a : b; }

/// The numbers that forward and backward arguments share, and what follows from them.
struct HeadShape {
  const SequenceLayout* layout;
  int heads;
  int kv_heads;
  int head_dim;
  int group;  // G
  float scale;

  template <class Args>
  TINYLORA_INLINE explicit HeadShape(const Args& args)
      : layout(args.layout),
        heads(args.heads),
        kv_heads(args.kv_heads),
        head_dim(args.head_dim),
        group(args.heads / args.kv_heads),
        scale(1.0F / square_root(static_cast<float>(args.head_dim))) {}

  /// Row of query `query` of a span.
  TINYLORA_INLINE int row(int span, int query) const { return layout->span_row[span] + query / group; }
  /// Place of the query in [M, H].
  TINYLORA_INLINE std::ptrdiff_t index(int span, int query, int kv_head) const {
    return static_cast<std::ptrdiff_t>(row(span, query)) * heads + kv_head * group + query % group;
  }
  /// How many keys of page `page` (counted from position 0) the query sees: at most kPageSize, 0 or less for none.
  TINYLORA_INLINE int keys_seen(int span, int query, int page) const {
    return smaller(layout->position[row(span, query)] + 1 - page * kPageSize, kPageSize);
  }
  TINYLORA_INLINE int page(int span, int index) const {
    return layout->page_table[static_cast<std::ptrdiff_t>(span) * layout->max_pages + index];
  }
  /// Number of pages up to the query's own position.
  TINYLORA_INLINE int pages_seen(int span, int query) const {
    return layout->position[row(span, query)] / kPageSize + 1;
  }
  /// The first query of the span that sees a key of page `page` (counted from position 0); the span's last row does.
  TINYLORA_INLINE int first_reader(int span, int page) const {
    const int rows_before = page * kPageSize - layout->position[layout->span_row[span]];
    return rows_before > 0 ? rows_before * group : 0;
  }
  /// Keys or values of a page for one kv head.
  template <typename T>
  TINYLORA_INLINE const T* page_data(const void* all, int page, int kv_head) const {
    return static_cast<const T*>(all) + (static_cast<std::ptrdiff_t>(page) * kv_heads + kv_head) * kPageSize * head_dim;
  }
};

/// The positions of a chunk's queries in their sequence, ascending within a span.
struct ChunkPositions {
  int count;
  int position[kQueryChunk] = {};

  TINYLORA_INLINE ChunkPositions(const HeadShape& shape, int span, int first, int queries) : count(queries) {
    const std::int32_t* of_row = shape.layout->position + shape.row(span, first);
    int head = first % shape.group;
    for (int i = 0; i < queries; ++i) {
      position[i] = *of_row;
      if (++head < shape.group) continue;
      head = 0;
      ++of_row;
    }
  }
  /// How many keys of page `page` (counted from position 0) query i sees: at most kPageSize, 0 or less for none.
  TINYLORA_INLINE int keys_seen(int i, int page) const {
    return smaller(position[i] + 1 - page * kPageSize, kPageSize);
  }
  /// Number of pages up to the own position of query i.
  TINYLORA_INLINE int pages_of(int i) const { return position[i] / kPageSize + 1; }
};

/// The places of a chunk's queries in [M, H].
struct ChunkPlaces {
  std::ptrdiff_t place[kQueryChunk];

  TINYLORA_INLINE ChunkPlaces(const HeadShape& shape, int span, int first, int queries, int kv_head) {
    std::ptrdiff_t next = shape.index(span, first, kv_head);
    int head = first % shape.group;
    for (int i = 0; i < queries; ++i, ++next) {
      place[i] = next;
      if (++head < shape.group) continue;
      head = 0;
      next += shape.heads - shape.group;
    }
  }
  TINYLORA_INLINE std::ptrdiff_t operator[](int i) const { return place[i]; }
};

/// Prefetches a kv head's keys and values of page `index` of a span. Pages lie anywhere in memory, so that the
/// processor's own prefetcher cannot guess the next one, and a single query (decoding) is done with a page long before
/// the next arrives.
template <typename T>
TINYLORA_INLINE void prefetch_page(const HeadShape& shape, const KvPages& pages, int span, int index, int kv_head) {
  const int page = shape.page(span, index);
  const int bytes = kPageSize * shape.head_dim * static_cast<int>(sizeof(T));
  for (const void* all : {pages.keys, pages.values}) {
    const char* data = reinterpret_cast<const char*>(shape.page_data<T>(all, page, kv_head));
    for (int i = 0; i < bytes; i += 64) __builtin_prefetch(data + i);
  }
}

/// visit(index, keys, values) for pages first .. last - 1 of a span, in this order: a kv head of each.
template <typename T, class Visit>
TINYLORA_INLINE void for_each_page(const HeadShape& shape, int span, int kv_head, const KvPages& pages, int first,
                                   int last, const Visit& visit) {
  for (int index = first; index < last; ++index) {
    const int page = shape.page(span, index);
    const T* keys = shape.page_data<T>(pages.keys, page, kv_head);
    const T* values = shape.page_data<T>(pages.values, page, kv_head);
    if (index + 1 < last) prefetch_page<T>(shape, pages, span, index + 1, kv_head);
    visit(index, keys, values);
  }
}

/// Writes the gradients of all slots of a page for one kv head, both [kPageSize, D].
TINYLORA_INLINE void store_page_gradients(const AttentionBackwardArgs& args, int page, int kv_head, const float* d_keys,
                                          const float* d_values) {
  const int dim = args.head_dim;
  for (int t = 0; t < kPageSize; ++t) {
    const std::ptrdiff_t slot = static_cast<std::ptrdiff_t>(page) * kPageSize + t;
    const std::ptrdiff_t place = (slot * args.kv_heads + kv_head) * dim;
    copy_row(dim, d_keys + t * dim, args.d_keys + place);
    copy_row(dim, d_values + t * dim, args.d_values + place);
  }
}

}  // namespace tinylora::TINYLORA_ISA
