// The backward pass of attention on vectors. With p = e^(s - lse), delta = d_out . out and
// ds = p (d_out v^T - delta) / sqrt(D), where s = q k^T / sqrt(D) is computed again:
//   dq = ds k      d_keys = ds^T q      d_values = p^T d_out
// in two passes, so that every sum has one owner and needs no atomics: queries sum dq over their pages, pages sum
// d_keys and d_values over the queries that see them (spans ascending, queries ascending). s has the bits of the
// forward pass: bf16 dot products where there are any. Everything else is made of plain floats, to which a page is
// widened once for a chunk, or once for all its queries.
//
// In the first pass neighbouring lanes of a vector are queries, in the second they are keys: so keys, values, q and
// d_out are each used in the order in which they are stored, and only a chunk's queries and a page's values are
// transposed, once.
#pragma once

#include <cstring>

#include "cpu/attention_queries.h"
#include "cpu/attention_tile.h"
#include "cpu/shuffle_rows.h"

namespace tinylora::TINYLORA_ISA {

static_assert(kQueryChunk == kPageSize, "p and ds of a chunk and a page are kPageSize x kPageSize either way");

/// Any number of rows of c: c[rows, width] from a[rows, n] and b[n, width].
template <class A, typename B, class Start>
void product(int rows, int steps, A a, const B* b, int width, float* c, Start start) {
  for (int i = 0; i < rows; i += kAttentionRows) {
    small_product(smaller(rows - i, kAttentionRows), {0, steps}, a.from(i, 0), b, width, c + i * width, width, start);
  }
}

/// A page's keys or values [rows, width] as plain floats: where they are, or widened into `room`. Slots nobody has
/// written may hold anything.
TINYLORA_INLINE const float* as_floats(int, int, const float* from, float*) { return from; }
TINYLORA_INLINE const float* as_floats(int rows, int width, const Bf16* from, float* room) {
  for (int n = 0; n < rows; n += 2) {
    const Bf16* pairs = from + n * width;
    for (int column = 0; column < width; column += kLanes) {
      const int count = smaller(width - column, kLanes);
      even_of_pairs(pairs + 2 * column, count).store(room + n * width + column, count);
      odd_of_pairs(pairs + 2 * column, count).store(room + (n + 1) * width + column, count);
    }
  }
  return room;
}

/// A page's keys as scores are made of them: as they lie where that is as pairs or floats, else the floats.
template <typename T>
TINYLORA_INLINE const typename LeftOf<T>::Type* keys_of_scores(const T* page, const float* floats) {
  if constexpr (std::is_same_v<typename LeftOf<T>::Type, T>) {
    return page;
  } else {
    return floats;
  }
}

/// p and ds from scores and dp = d_out v^T.
struct ScoreGradient {
  Floats p, ds;

  TINYLORA_INLINE ScoreGradient(const float* scores, const float* dp, Floats lse, Floats delta, Floats scale)
      : p(exp(Floats::load(scores) * scale - lse)), ds(p * (Floats::load(dp) - delta) * scale) {}
};

/// Rows of a chunk, which row(i) points to, with queries on lanes: [D, queries], or pairs of bf16 [D / 2][queries][2].
/// Queries past the last are zeros.
template <typename To, class Row>
void columns_of_rows(int count, int dim, const Row& row, To* to) {
  alignas(64) To rows[kQueryChunk * kMaxHeadDim];
  for (int i = 0; i < count; ++i) copy_row(dim, row(i), rows + i * dim);
  std::memset(static_cast<void*>(rows + count * dim), 0, std::size_t((kQueryChunk - count) * dim) * sizeof(To));
  transpose_words(kQueryChunk, dim * static_cast<int>(sizeof(To)) / 4, rows, to);
}

template <typename T>
void attention_backward_queries(const AttentionBackwardArgs& args, const QueryChunk& chunk,
                                const BackwardScratch& scratch) {
  using Left = typename LeftOf<T>::Type;
  const HeadShape shape(args);
  const int dim = shape.head_dim;
  const ChunkPositions positions(shape, chunk.span, chunk.first, chunk.count);
  const ChunkPlaces places(shape, chunk.span, chunk.first, chunk.count, chunk.kv_head);
  alignas(64) Left q[kMaxHeadDim * kQueryChunk];          // [D, queries] or pairs
  alignas(64) float d_out[kMaxHeadDim * kQueryChunk];     // [D, queries]
  alignas(64) float dq[kMaxHeadDim * kQueryChunk];        // [D, queries]
  alignas(64) float key_room[kMaxHeadDim * kPageSize];    // [D, keys]
  alignas(64) float value_room[kPageSize * kMaxHeadDim];  // [keys, D]
  alignas(64) float scores[kPageSize * kQueryChunk];      // [keys, queries]
  alignas(64) float dp[kPageSize * kQueryChunk];
  alignas(64) float lse[kQueryChunk] = {};
  alignas(64) float delta[kQueryChunk] = {};
  columns_of_rows(
      chunk.count, dim, [&](int i) { return static_cast<const T*>(args.q) + places[i] * dim; }, q);
  columns_of_rows(
      chunk.count, dim, [&](int i) { return args.d_out + places[i] * dim; }, d_out);
  for (int i = 0; i < chunk.count; ++i) {
    const std::ptrdiff_t place = places[i];
    lse[i] = args.lse[place];
    delta[i] = scratch.delta[place] = dot(dim, args.d_out + place * dim, static_cast<const T*>(args.out) + place * dim);
  }
  std::memset(dq, 0, std::size_t(dim * kQueryChunk) * sizeof(float));

  const int last = chunk.count - 1;
  for (int index = 0; index < positions.pages_of(last); ++index) {
    const int page = shape.page(chunk.span, index);
    const T* page_keys = shape.page_data<T>(args.pages.keys, page, chunk.kv_head);
    const T* page_values = shape.page_data<T>(args.pages.values, page, chunk.kv_head);
    const float* keys = as_floats(dim, kPageSize, page_keys, key_room);
    const float* values = as_floats(kPageSize, dim, page_values, value_room);
    const int seen = positions.keys_seen(last, index);
    product(seen, dim, by_column(keys_of_scores(page_keys, keys), kPageSize), q, kQueryChunk, scores, FromZero{});
    product(seen, dim, ByRow{values, dim}, d_out, kQueryChunk, dp, FromZero{});
    int hidden = 0;  // queries that stand before key t: the first ones
    for (int t = 0; t < seen; ++t) {
      while (positions.keys_seen(hidden, index) <= t) ++hidden;
      for (int i = 0; i < kQueryChunk; i += kLanes) {
        const int place = t * kQueryChunk + i;
        Floats ds = ScoreGradient(scores + place, dp + place, Floats::load(lse + i), Floats::load(delta + i),
                                  Floats::all(shape.scale))
                        .ds;
        if (hidden > i) ds = first(smaller(hidden - i, kLanes), Floats::zero(), ds);
        ds.store(dp + place);
      }
    }
    product(dim, seen, ByRow{keys, kPageSize}, dp, kQueryChunk, dq, FromSums{});
  }

  alignas(64) float rows[kQueryChunk * kMaxHeadDim];  // of dq
  transpose_words(dim, kQueryChunk, dq, rows);
  for (int i = 0; i < chunk.count; ++i) copy_row(dim, rows + i * dim, args.dq_out + places[i] * dim);
}

template <typename T>
void attention_backward_page(const AttentionBackwardArgs& args, const PageTask& task, const BackwardScratch& scratch) {
  using Left = typename LeftOf<T>::Type;
  const HeadShape shape(args);
  const int dim = shape.head_dim;
  const int page = task.uses[0].page;
  alignas(64) float key_room[kMaxHeadDim * kPageSize];      // [D, keys]
  alignas(64) float values[kMaxHeadDim * kPageSize];        // [D, keys]
  alignas(64) float d_keys[kPageSize * kMaxHeadDim];        // [keys, D]
  alignas(64) float d_values[kPageSize * kMaxHeadDim];      // [keys, D]
  alignas(64) Left q_of_scores[kQueryChunk * kMaxHeadDim];  // [queries, D]
  alignas(64) float q[kQueryChunk * kMaxHeadDim];           // [queries, D]
  alignas(64) float d_out[kQueryChunk * kMaxHeadDim];       // [queries, D]
  alignas(64) float scores[kQueryChunk * kPageSize];        // [queries, keys]
  alignas(64) float dp[kQueryChunk * kPageSize];
  const T* page_keys = shape.page_data<T>(args.pages.keys, page, task.kv_head);
  const float* keys = as_floats(dim, kPageSize, page_keys, key_room);
  transpose_words(kPageSize, dim,
                  as_floats(kPageSize, dim, shape.page_data<T>(args.pages.values, page, task.kv_head), q), values);
  for (float* sums : {d_keys, d_values}) std::memset(sums, 0, std::size_t(kPageSize * dim) * sizeof(float));

  for (const PageUse* use = task.uses; use < task.uses + task.count; ++use) {
    const int queries = shape.layout->span_rows[use->span] * shape.group;
    for (int from = shape.first_reader(use->span, use->index); from < queries; from += kQueryChunk) {
      const int count = smaller(queries - from, kQueryChunk);
      const ChunkPositions positions(shape, use->span, from, count);
      const ChunkPlaces places(shape, use->span, from, count, task.kv_head);
      for (int i = 0; i < count; ++i) {
        const T* row = static_cast<const T*>(args.q) + places[i] * dim;
        copy_row(dim, row, q_of_scores + i * dim);
        copy_row(dim, row, q + i * dim);
        copy_row(dim, args.d_out + places[i] * dim, d_out + i * dim);
      }
      product(count, dim, by_row(q_of_scores, dim), keys_of_scores(page_keys, keys), kPageSize, scores, FromZero{});
      product(count, dim, ByRow{d_out, dim}, values, kPageSize, dp, FromZero{});
      for (int i = 0; i < count; ++i) {
        const int seen = positions.keys_seen(i, use->index);
        const Floats lse = Floats::all(args.lse[places[i]]), delta = Floats::all(scratch.delta[places[i]]);
        for (int t = 0; t < kPageSize; t += kLanes) {
          const int place = i * kPageSize + t, valid = seen < t ? 0 : smaller(seen - t, kLanes);
          const ScoreGradient of(scores + place, dp + place, lse, delta, Floats::all(shape.scale));
          first(valid, of.p, Floats::zero()).store(scores + place);
          first(valid, of.ds, Floats::zero()).store(dp + place);
        }
      }
      product(kPageSize, count, ByColumn{dp, kPageSize}, q, dim, d_keys, FromSums{});
      product(kPageSize, count, ByColumn{scores, kPageSize}, d_out, dim, d_values, FromSums{});
    }
  }

  store_page_gradients(args, page, task.kv_head, d_keys, d_values);
}

}  // namespace tinylora::TINYLORA_ISA
