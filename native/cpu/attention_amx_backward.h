// The backward pass of attention in AMX tiles, for bf16 and a head_dim that is a multiple of 32. Formulas and the two
// passes, over queries and over pages: attention_backward.h. Sums are float. q, keys and values are bf16 and enter the
// products as they are; d_out, p and ds are floats and enter as sums of two bf16 terms (bf16_terms.h). Where both
// factors have two terms, the product of the two lower ones is left out: it is below the rounding of the terms.
//
// Tiling: 32 keys by 32 queries at a time, with keys on rows and queries on lanes, in both passes. In this order p and
// ds are the left sides of p^T d_out and ds^T q as they are, and in pairs of keys the right side of k^T ds. A page and
// a chunk take 5 D / 8 dots of 16 x 16 x 32 in the first pass, D in the second.
//
// Memory traffic: the first pass reads a page once a chunk. It packs the chunk for the second pass (PackedQueries, 12
// bytes a number of q): once in the order of a page's keys, for products over D, and once in that of its values, for
// products over queries. The second pass reads each packed chunk once for every page that it sees.
#pragma once

#include "cpu/amx_tiles.h"
#include "cpu/attention_amx_pack.h"

namespace tinylora::TINYLORA_ISA {

static_assert(kPageSize == 2 * amx::kRows && kQueryChunk == 2 * amx::kRows, "a page by a chunk is two tiles by two");
static_assert(kPageSize == amx::kInputs && kQueryChunk == amx::kInputs, "a sum over either is one dot");

inline constexpr std::size_t kWordRow = 128;  // bytes of 32 floats, or 32 pairs of bf16
inline constexpr std::size_t kHalfRow = 64;   // bytes of 32 bf16

/// to [32, 32] = rows [32, D] times the sum of the terms, columns [D / 2][32][2] each.
template <int kTerms>
TINYLORA_INLINE void product_over_d(int head_dim, const Bf16* rows, const Bf16* const (&columns)[kTerms], float* to) {
  const std::size_t row = std::size_t(head_dim) * sizeof(Bf16);
  const Bf16* lower_rows = rows + amx::kRows * head_dim;
  float* lower = to + amx::kRows * 32;
  TINYLORA_TILE_ZERO(0);
  TINYLORA_TILE_ZERO(1);
  TINYLORA_TILE_ZERO(2);
  TINYLORA_TILE_ZERO(3);
  for (int d = 0; d < head_dim; d += amx::kInputs) {
    TINYLORA_TILE_LOAD(4, rows + d, row);
    TINYLORA_TILE_LOAD(5, lower_rows + d, row);
    for (const Bf16* term : columns) {
      TINYLORA_TILE_LOAD(6, term + 32 * d, kWordRow);
      TINYLORA_TILE_LOAD(7, term + 32 * d + 2 * amx::kRows, kWordRow);
      TINYLORA_TILE_DOT(0, 4, 6);
      TINYLORA_TILE_DOT(1, 4, 7);
      TINYLORA_TILE_DOT(2, 5, 6);
      TINYLORA_TILE_DOT(3, 5, 7);
    }
  }
  TINYLORA_TILE_STORE(0, to, kWordRow);
  TINYLORA_TILE_STORE(1, to + amx::kRows, kWordRow);
  TINYLORA_TILE_STORE(2, lower, kWordRow);
  TINYLORA_TILE_STORE(3, lower + amx::kRows, kWordRow);
}

/// p and ds of a page and a chunk, [keys, queries]; zero where a query does not see a key, and for keys that nobody has
/// written. Lanes past the last query of the chunk are not zero; what they meet is, their q and d_out.
struct ScoreGradients {
  alignas(64) float p[kPageSize * kQueryChunk];
  alignas(64) float ds[kPageSize * kQueryChunk];

  TINYLORA_INLINE ScoreGradients(const HeadShape& shape, const PageRows& page, const PackedQueries& queries,
                                 const ChunkPositions& positions, int page_index) {
    amx::written();
    product_over_d<1>(shape.head_dim, page.keys, {queries.q_columns}, p);
    product_over_d<2>(shape.head_dim, page.values, {queries.d_out_columns[0], queries.d_out_columns[1]}, ds);
    const Floats scale = Floats::all(shape.scale);
    int hidden = 0;  // queries that stand before key t: the first ones
    for (int t = 0; t < kPageSize; ++t) {
      while (hidden < positions.count && positions.keys_seen(hidden, page_index) <= t) ++hidden;
      const int zeros = hidden < positions.count ? hidden : kQueryChunk;
      for (int i = 0; i < kQueryChunk; i += kLanes) {
        const int place = t * kQueryChunk + i;
        Floats weight = exp(Floats::load(p + place) * scale - Floats::load(queries.lse + i));
        Floats slope = weight * (Floats::load(ds + place) - Floats::load(queries.delta + i)) * scale;
        if (zeros > i) {
          weight = first(smaller(zeros - i, kLanes), Floats::zero(), weight);
          slope = first(smaller(zeros - i, kLanes), Floats::zero(), slope);
        }
        weight.store(p + place);
        slope.store(ds + place);
      }
    }
  }
};

/// 32 x 32 floats as two terms each: [0] the upper ones, [1] the lower ones.
using TwoTerms = Bf16[2][kPageSize * kQueryChunk];

/// ds [keys, queries] in pairs of keys, [16][queries][2]: the right side of a product over keys.
TINYLORA_INLINE void split_pairs(const float* ds, TwoTerms& to) {
  for (int t = 0; t < kPageSize; t += 2) {
    for (int i = 0; i < kQueryChunk; i += kLanes) {
      const float* pair = ds + t * kQueryChunk + i;
      const int place = t * kQueryChunk + 2 * i;
      const Terms even = two_terms(Floats::load(pair)), odd = two_terms(Floats::load(pair + kQueryChunk));
      store_upper_pairs(even.high, odd.high, to[0] + place);
      store_upper_pairs(even.low, odd.low, to[1] + place);
    }
  }
}

/// dq [D, queries] += k^T ds, key_columns [D, keys].
TINYLORA_INLINE void add_dq(int head_dim, const Bf16* key_columns, const TwoTerms& ds_pairs, float* dq) {
  amx::written();
  TINYLORA_TILE_LOAD(2, ds_pairs[0], kWordRow);
  TINYLORA_TILE_LOAD(3, ds_pairs[0] + 2 * amx::kRows, kWordRow);
  TINYLORA_TILE_LOAD(4, ds_pairs[1], kWordRow);
  TINYLORA_TILE_LOAD(5, ds_pairs[1] + 2 * amx::kRows, kWordRow);
  for (int d = 0; d < head_dim; d += amx::kRows) {
    float* sums = dq + d * kQueryChunk;
    TINYLORA_TILE_LOAD(0, sums, kWordRow);
    TINYLORA_TILE_LOAD(1, sums + amx::kRows, kWordRow);
    TINYLORA_TILE_LOAD(6, key_columns + d * kPageSize, kHalfRow);
    TINYLORA_TILE_DOT(0, 6, 2);
    TINYLORA_TILE_DOT(1, 6, 3);
    TINYLORA_TILE_DOT(0, 6, 4);
    TINYLORA_TILE_DOT(1, 6, 5);
    TINYLORA_TILE_STORE(0, sums, kWordRow);
    TINYLORA_TILE_STORE(1, sums + amx::kRows, kWordRow);
  }
}

inline void attention_backward_queries_amx(const AttentionBackwardArgs& args, const QueryChunk& chunk,
                                           const BackwardScratch& scratch) {
  const HeadShape shape(args);
  const int dim = shape.head_dim;
  const PackedQueries queries(scratch.chunk(chunk.number), dim);
  alignas(64) Bf16 key_columns[kMaxHeadDim * kPageSize];  // [D, keys]
  alignas(64) float dq[kMaxHeadDim * kQueryChunk];        // [D, queries]
  alignas(64) TwoTerms ds_pairs;
  pack_queries(args, shape, chunk, queries);
  for (int i = 0; i < dim * kQueryChunk; ++i) dq[i] = 0;

  const amx::Scope scope;
  const ChunkPositions positions(shape, chunk.span, chunk.first, chunk.count);
  const int pages = positions.pages_of(chunk.count - 1);
  for (int index = 0; index < pages; ++index) {
    const int page = shape.page(chunk.span, index);
    const Bf16* keys = shape.page_data<Bf16>(args.pages.keys, page, chunk.kv_head);
    const PageRows rows(dim, keys, shape.page_data<Bf16>(args.pages.values, page, chunk.kv_head));
    part_rows(dim, kPageSize, keys, key_columns);
    const int seen = positions.keys_seen(chunk.count - 1, index);
    for (int d = 0; seen < kPageSize && d < dim; ++d) {  // a ds of 0 times NaN, of a slot nobody has written, is NaN
      for (int t = seen; t < kPageSize; ++t) key_columns[d * kPageSize + t] = {};
    }
    const ScoreGradients scores(shape, rows, queries, positions, index);
    split_pairs(scores.ds, ds_pairs);
    add_dq(dim, key_columns, ds_pairs, dq);
  }

  alignas(64) float rows[kQueryChunk * kMaxHeadDim];
  transpose_words(dim, kQueryChunk, dq, rows);
  for (int i = 0; i < chunk.count; ++i) {
    const std::ptrdiff_t index = shape.index(chunk.span, chunk.first + i, chunk.kv_head);
    copy_row(dim, rows + i * dim, args.dq_out + index * dim);
  }
}

/// p or ds [keys, queries] as it is: the left side of a product over queries.
TINYLORA_INLINE void split_rows(const float* from, TwoTerms& to) {
  for (int i = 0; i < kPageSize * kQueryChunk; i += kLanes) {
    const Terms terms = two_terms(Floats::load(from + i));
    store_upper(terms.high, to[0] + i);
    store_upper(terms.low, to[1] + i);
  }
}

/// sums [keys, D] += left right: ds^T q, or p^T d_out with its two terms, each [16][D][2].
template <int kTerms>
TINYLORA_INLINE void add_over_queries(int head_dim, const TwoTerms& left, const Bf16* const (&right)[kTerms],
                                      float* sums) {
  const std::size_t row = std::size_t(head_dim) * sizeof(float);  // of sums, and of a pair of queries
  amx::written();
  TINYLORA_TILE_LOAD(2, left[0], kHalfRow);
  TINYLORA_TILE_LOAD(3, left[0] + amx::kRows * kQueryChunk, kHalfRow);
  TINYLORA_TILE_LOAD(4, left[1], kHalfRow);
  TINYLORA_TILE_LOAD(5, left[1] + amx::kRows * kQueryChunk, kHalfRow);
  for (int d = 0; d < head_dim; d += amx::kRows) {
    float *upper = sums + d, *lower = upper + amx::kRows * head_dim;
    TINYLORA_TILE_LOAD(0, upper, row);
    TINYLORA_TILE_LOAD(1, lower, row);
    TINYLORA_TILE_LOAD(6, right[0] + 2 * d, row);
    TINYLORA_TILE_DOT(0, 2, 6);
    TINYLORA_TILE_DOT(1, 3, 6);
    TINYLORA_TILE_DOT(0, 4, 6);
    TINYLORA_TILE_DOT(1, 5, 6);
    if constexpr (kTerms == 2) {
      TINYLORA_TILE_LOAD(7, right[1] + 2 * d, row);
      TINYLORA_TILE_DOT(0, 2, 7);
      TINYLORA_TILE_DOT(1, 3, 7);
    }
    TINYLORA_TILE_STORE(0, upper, row);
    TINYLORA_TILE_STORE(1, lower, row);
  }
}

inline void attention_backward_page_amx(const AttentionBackwardArgs& args, const PageTask& task,
                                        const BackwardScratch& scratch) {
  const HeadShape shape(args);
  const int dim = shape.head_dim;
  const int page = task.uses[0].page;
  alignas(64) float d_keys[kPageSize * kMaxHeadDim];    // [keys, D]
  alignas(64) float d_values[kPageSize * kMaxHeadDim];  // [keys, D]
  alignas(64) TwoTerms terms;
  const PageRows rows(dim, shape.page_data<Bf16>(args.pages.keys, page, task.kv_head),
                      shape.page_data<Bf16>(args.pages.values, page, task.kv_head));
  for (int i = 0; i < kPageSize * dim; ++i) d_keys[i] = d_values[i] = 0;

  const amx::Scope scope;
  for (const PageUse* use = task.uses; use < task.uses + task.count; ++use) {
    const int count = shape.layout->span_rows[use->span] * shape.group;
    const int first_chunk = shape.first_reader(use->span, use->index) / kQueryChunk;  // as the first pass cut them
    for (int from = first_chunk * kQueryChunk; from < count; from += kQueryChunk) {
      const PackedQueries queries(scratch.chunk(use->span, from, task.kv_head, shape.kv_heads), dim);
      const ChunkPositions positions(shape, use->span, from, smaller(count - from, kQueryChunk));
      const ScoreGradients scores(shape, rows, queries, positions, use->index);
      split_rows(scores.ds, terms);
      add_over_queries<1>(dim, terms, {queries.q_rows}, d_keys);
      split_rows(scores.p, terms);
      add_over_queries<2>(dim, terms, {queries.d_out_rows[0], queries.d_out_rows[1]}, d_values);
    }
  }

  store_page_gradients(args, page, task.kv_head, d_keys, d_values);
}

}  // namespace tinylora::TINYLORA_ISA
