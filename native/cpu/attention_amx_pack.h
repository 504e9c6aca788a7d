// A chunk of queries and a page in the orders that the tiles of attention's backward pass read
// (attention_amx_backward.h).
#pragma once

#include <cstring>

#include "cpu/attention_queries.h"
#include "cpu/bf16_terms.h"
#include "cpu/lanes.h"
#include "cpu/shuffle_rows.h"

namespace tinylora::TINYLORA_ISA {

/// What the pass over queries leaves of a chunk for the pass over pages. Queries past the chunk's last are zeros.
struct PackedQueries {
  Bf16* q_columns;         // [D / 2][queries][2], as keys lie in a page
  Bf16* d_out_columns[2];  // the upper and the lower terms, likewise
  Bf16* q_rows;            // [queries / 2][D][2], as values lie in a page
  Bf16* d_out_rows[2];     // the upper and the lower terms, likewise
  float* lse;              // [queries]
  float* delta;            // [queries] d_out . out

  static std::size_t bytes(int head_dim) {
    return std::size_t(6 * kQueryChunk * head_dim) * sizeof(Bf16) + 2 * kQueryChunk * sizeof(float);
  }
  TINYLORA_INLINE PackedQueries(std::byte* memory, int head_dim) {
    auto* next = reinterpret_cast<Bf16*>(memory);
    for (Bf16** part : {&q_columns, d_out_columns, d_out_columns + 1, &q_rows, d_out_rows, d_out_rows + 1}) {
      *part = next;
      next += kQueryChunk * head_dim;
    }
    lse = reinterpret_cast<float*>(next);
    delta = lse + kQueryChunk;
  }
};

inline void pack_queries(const AttentionBackwardArgs& args, const HeadShape& shape, const QueryChunk& chunk,
                         const PackedQueries& packed) {
  const int dim = shape.head_dim;
  alignas(64) Bf16 rows[3][kQueryChunk * kMaxHeadDim];  // q and the two terms of d_out
  for (int i = 0; i < kQueryChunk; ++i) {
    Bf16 *q = rows[0] + i * dim, *high = rows[1] + i * dim, *low = rows[2] + i * dim;
    packed.lse[i] = packed.delta[i] = 0;
    if (i >= chunk.count) {
      for (Bf16* row : {q, high, low}) std::memset(row, 0, std::size_t(dim) * sizeof(Bf16));
      continue;
    }
    const std::ptrdiff_t index = shape.index(chunk.span, chunk.first + i, chunk.kv_head);
    const float* d_out = args.d_out + index * dim;
    std::memcpy(q, static_cast<const Bf16*>(args.q) + index * dim, std::size_t(dim) * sizeof(Bf16));
    for (int d = 0; d < dim; d += kLanes) {
      const Terms terms = two_terms(Floats::load(d_out + d));
      store_upper(terms.high, high + d);
      store_upper(terms.low, low + d);
    }
    packed.lse[i] = args.lse[index];
    packed.delta[i] = dot(dim, d_out, static_cast<const Bf16*>(args.out) + index * dim);
  }
  Bf16* const columns[] = {packed.q_columns, packed.d_out_columns[0], packed.d_out_columns[1]};
  Bf16* const pairs[] = {packed.q_rows, packed.d_out_rows[0], packed.d_out_rows[1]};
  for (int i = 0; i < 3; ++i) {
    transpose_words(kQueryChunk, dim / 2, rows[i], columns[i]);
    pair_rows(kQueryChunk, dim, rows[i], pairs[i]);
  }
}

/// A page's keys and values as the left side of products over D. Slots that nobody has written may hold anything: a row
/// of such a product depends on its own slot alone.
struct PageRows {
  alignas(64) Bf16 keys[kPageSize * kMaxHeadDim];    // [keys, D]
  alignas(64) Bf16 values[kPageSize * kMaxHeadDim];  // [keys, D]

  TINYLORA_INLINE PageRows(int head_dim, const Bf16* page_keys, const Bf16* page_values) {
    transpose_words(head_dim / 2, kPageSize, page_keys, keys);
    part_rows(kPageSize, head_dim, page_values, values);
  }
};

}  // namespace tinylora::TINYLORA_ISA
