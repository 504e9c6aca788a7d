// The backward pass of attention on vectors. With p = e^(s - lse), delta = d_out . out and
// ds = p (d_out v^T - delta) / sqrt(D), where s = q k^T / sqrt(D) is computed again:
//   dq = ds k      d_keys = ds^T q      d_values = p^T d_out
// in two passes, so that every sum has one owner and needs no atomics: queries sum dq over their pages, pages sum
// d_keys and d_values over the queries that see them (spans ascending, queries ascending). Both passes work on plain
// floats: a page is widened once for a chunk, or once for all its queries.
//
// In the first pass neighbouring lanes of a vector are queries, in the second they are keys: so keys, values, q and
// d_out are each used in the order in which they are stored, and only a chunk's queries and a page's values are
// transposed, once.
#pragma once

#include "cpu/attention_queries.h"
#include "cpu/attention_tile.h"

namespace tinylora::TINYLORA_ISA {

static_assert(kQueryChunk == kPageSize, "p and ds of a chunk and a page are kPageSize x kPageSize either way");

/// Any number of rows of c: c[rows, width] from a[rows, n] and b[n, width].
template <class A, class Start>
void product(int rows, int steps, A a, const float* b, int width, float* c, Start start) {
  for (int i = 0; i < rows; i += kAttentionRows) {
    small_product(smaller(rows - i, kAttentionRows), {0, steps}, a.from(i, 0), b, width, c + i * width, width, start);
  }
}

/// A page's keys or values [rows, width] as plain floats. Slots nobody has written may hold anything.
TINYLORA_INLINE void widen_page(int rows, int width, const float* from, float* to) { copy_row(rows * width, from, to); }
TINYLORA_INLINE void widen_page(int rows, int width, const Bf16* from, float* to) {
  for (int n = 0; n < rows; n += 2) {
    const Bf16* pairs = from + n * width;
    for (int column = 0; column < width; column += kLanes) {
      const int count = smaller(width - column, kLanes);
      even_of_pairs(pairs + 2 * column, count).store(to + n * width + column, count);
      odd_of_pairs(pairs + 2 * column, count).store(to + (n + 1) * width + column, count);
    }
  }
}

/// p and ds from scores and dp = d_out v^T, both in place, where `valid`; zero elsewhere.
TINYLORA_INLINE void score_gradients(Floats lse, Floats delta, float scale, int valid, float* scores, float* dp) {
  const Floats p = exp(Floats::load(scores) * Floats::all(scale) - lse);
  const Floats ds = p * (Floats::load(dp) - delta) * Floats::all(scale);
  first(valid, p, Floats::zero()).store(scores);
  first(valid, ds, Floats::zero()).store(dp);
}

template <typename T>
void attention_backward_queries(const AttentionBackwardArgs& args, const QueryChunk& chunk,
                                const BackwardScratch& scratch) {
  const HeadShape shape(args);
  const int dim = shape.head_dim;
  alignas(64) float q[kMaxHeadDim * kQueryChunk];      // [D, queries]
  alignas(64) float d_out[kMaxHeadDim * kQueryChunk];  // [D, queries]
  alignas(64) float dq[kMaxHeadDim * kQueryChunk];     // [D, queries]
  alignas(64) float keys[kMaxHeadDim * kPageSize];     // [D, keys]
  alignas(64) float values[kPageSize * kMaxHeadDim];   // [keys, D]
  alignas(64) float scores[kPageSize * kQueryChunk];   // [keys, queries]
  alignas(64) float dp[kPageSize * kQueryChunk];
  alignas(64) float lse[kQueryChunk] = {};
  alignas(64) float delta[kQueryChunk] = {};
  for (int i = 0; i < dim * kQueryChunk; ++i) q[i] = d_out[i] = dq[i] = 0;
  for (int i = 0; i < chunk.count; ++i) {
    const std::ptrdiff_t index = shape.index(chunk.span, chunk.first + i, chunk.kv_head);
    const float* gradient = args.d_out + index * dim;
    alignas(64) float row[kMaxHeadDim];
    copy_row(dim, static_cast<const T*>(args.q) + index * dim, row);
    for (int d = 0; d < dim; ++d) {
      q[d * kQueryChunk + i] = row[d];
      d_out[d * kQueryChunk + i] = gradient[d];
    }
    lse[i] = args.lse[index];
    delta[i] = scratch.delta[index] = dot(dim, gradient, static_cast<const T*>(args.out) + index * dim);
  }

  const int last_query = chunk.first + chunk.count - 1;
  const int pages = shape.pages_seen(chunk.span, last_query);
  for (int index = 0; index < pages; ++index) {
    const int page = shape.page(chunk.span, index);
    widen_page(dim, kPageSize, shape.page_data<T>(args.pages.keys, page, chunk.kv_head), keys);
    widen_page(kPageSize, dim, shape.page_data<T>(args.pages.values, page, chunk.kv_head), values);
    const int seen = shape.keys_seen(chunk.span, last_query, index);
    product(seen, dim, ByColumn{keys, kPageSize}, q, kQueryChunk, scores, FromZero{});
    product(seen, dim, ByRow{values, dim}, d_out, kQueryChunk, dp, FromZero{});
    int unseen = 0;  // queries that stand before key t: the first ones
    for (int t = 0; t < seen; ++t) {
      while (shape.keys_seen(chunk.span, chunk.first + unseen, index) <= t) ++unseen;
      for (int i = 0; i < kQueryChunk; i += kLanes) {
        const int place = t * kQueryChunk + i;
        score_gradients(Floats::load(lse + i), Floats::load(delta + i), shape.scale, kLanes, scores + place,
                        dp + place);
      }
      for (int i = 0; i < unseen; ++i) dp[t * kQueryChunk + i] = 0;
    }
    product(dim, seen, ByRow{keys, kPageSize}, dp, kQueryChunk, dq, FromSums{});
  }

  for (int i = 0; i < chunk.count; ++i) {
    float* to = args.dq_out + shape.index(chunk.span, chunk.first + i, chunk.kv_head) * dim;
    for (int d = 0; d < dim; ++d) to[d] = dq[d * kQueryChunk + i];
  }
}

template <typename T>
void attention_backward_page(const AttentionBackwardArgs& args, const PageTask& task, const BackwardScratch& scratch) {
  const HeadShape shape(args);
  const int dim = shape.head_dim;
  const int page = task.uses[0].page;
  alignas(64) float keys[kMaxHeadDim * kPageSize];      // [D, keys]
  alignas(64) float values[kMaxHeadDim * kPageSize];    // [D, keys]
  alignas(64) float d_keys[kPageSize * kMaxHeadDim];    // [keys, D]
  alignas(64) float d_values[kPageSize * kMaxHeadDim];  // [keys, D]
  alignas(64) float q[kQueryChunk * kMaxHeadDim];       // [queries, D]
  alignas(64) float d_out[kQueryChunk * kMaxHeadDim];   // [queries, D]
  alignas(64) float scores[kQueryChunk * kPageSize];    // [queries, keys]
  alignas(64) float dp[kQueryChunk * kPageSize];
  widen_page(dim, kPageSize, shape.page_data<T>(args.pages.keys, page, task.kv_head), keys);
  widen_page(kPageSize, dim, shape.page_data<T>(args.pages.values, page, task.kv_head), q);
  for (int t = 0; t < kPageSize; ++t) {
    for (int d = 0; d < dim; ++d) values[d * kPageSize + t] = q[t * dim + d];
  }
  for (int i = 0; i < kPageSize * dim; ++i) d_keys[i] = d_values[i] = 0;

  for (const PageUse* use = task.uses; use < task.uses + task.count; ++use) {
    const int queries = shape.layout->span_rows[use->span] * shape.group;
    for (int from = shape.first_reader(use->span, use->index); from < queries; from += kQueryChunk) {
      const int count = smaller(queries - from, kQueryChunk);
      for (int i = 0; i < count; ++i) {
        const std::ptrdiff_t index = shape.index(use->span, from + i, task.kv_head);
        copy_row(dim, static_cast<const T*>(args.q) + index * dim, q + i * dim);
        copy_row(dim, args.d_out + index * dim, d_out + i * dim);
      }
      product(count, dim, ByRow{q, dim}, keys, kPageSize, scores, FromZero{});
      product(count, dim, ByRow{d_out, dim}, values, kPageSize, dp, FromZero{});
      for (int i = 0; i < count; ++i) {
        const std::ptrdiff_t index = shape.index(use->span, from + i, task.kv_head);
        const int seen = shape.keys_seen(use->span, from + i, use->index);
        for (int t = 0; t < kPageSize; t += kLanes) {
          const int valid = seen < t ? 0 : smaller(seen - t, kLanes);
          score_gradients(Floats::all(args.lse[index]), Floats::all(scratch.delta[index]), shape.scale, valid,
                          scores + i * kPageSize + t, dp + i * kPageSize + t);
        }
      }
      product(kPageSize, count, ByColumn{dp, kPageSize}, q, dim, d_keys, FromSums{});
      product(kPageSize, count, ByColumn{scores, kPageSize}, d_out, dim, d_values, FromSums{});
    }
  }

  store_page_gradients(args, page, task.kv_head, d_keys, d_values);
}

}  // namespace tinylora::TINYLORA_ISA
