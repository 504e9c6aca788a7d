// Attention of a block on tensor cores: the queries of a tile over a run of pages. A warp owns 16 queries (rows and
// heads of one kv group) as A fragments in registers, their sums of D in registers too; the warps of a block share the
// pages, which cp.async brings two ahead into a swizzled ring of three. Per page and warp: 4 D/16 mma for s (n = keys),
// one softmax over the quads that hold a row, D/8 * 2 mma for p v (n = D, p rounded to 16 bits, its sum is not).
//
// Keys of a sequence are taken in splits of kSplitPages pages from position 0. Each split is a softmax of its own:
//   s = q k^T log2(e) / sqrt(D),  m' = max(m, max s),  p = 2^(s - m')
//   l = l 2^(m - m') + sum p,  o = o 2^(m - m') + p v
// page by page from m = -inf, l = o = 0; the query's totals M, L, O are those of the first split, to which the others
// are added in order:
//   M' = max(M, m),  L = L 2^(M - M') + l 2^(m - M'),  O = O 2^(M - M') + o 2^(m - M')
// A query's bits depend on its own row of A alone, and on the pages and splits of its own sequence: so they are the
// same in any tile, whatever its other queries, and whichever kernel adds up the splits.
//
// Keys after a query's position get p = 0; keys after those of all queries of the tile are never read, since they may
// be NaN: zeros take their places in shared memory.
#pragma once

#include "act.cuh"
#include "attention.h"
#include "attention_update.cuh"
#include "mma.cuh"
#include "powers.cuh"
#include "span_tile.cuh"
#include "warp.cuh"

namespace tinylora::cuda {

/// What totals hold before the first split is added: it keeps all of the split's bits, also those of -0.
inline constexpr float kNothing = -0.0F;

/// How a split of largest score m is added to totals of largest score M.
struct SplitWeights {
  float largest, of_totals, of_split;

  __device__ SplitWeights(float before, float of_part)
      : largest(fmaxf(before, of_part)),
        of_totals(power_of_two(before - largest)),
        of_split(power_of_two(of_part - largest)) {}
  /// Those that another lane has.
  __device__ SplitWeights of_lane(int lane) const {
    SplitWeights other = *this;
    other.of_totals = __shfl_sync(kWholeWarp, of_totals, lane);
    other.of_split = __shfl_sync(kWholeWarp, of_split, lane);
    return other;
  }
  __device__ float add(float sum, float part) const { return fmaf(sum, of_totals, part * of_split); }
};

/// The queries of a tile, for one kv head: the G heads of a row side by side, rows in order.
struct Queries {
  const AttentionTask& task;
  SpanTile tile;
  int kv_head;
  bool row_a_span = false;  // the rows are those of spans tile.span, tile.span + 1, ...; else of the one span

  __device__ int group() const { return task.args.heads / task.args.kv_heads; }
  __device__ int row(int query) const {
    const int* first = task.layout.span_row + tile.span;
    return row_a_span ? first[query / group()] : first[0] + query / group();
  }
  __device__ int end() const { return tile.first + tile.count; }
  /// Place of the query in [M, H].
  __device__ long long index(int query) const {
    return static_cast<long long>(row(query)) * task.args.heads + kv_head * group() + query % group();
  }
  /// Element (page `number` of the sequence, key 0) of keys or values.
  __device__ long long page(int number) const {
    const int page = task.layout.page_table[static_cast<long long>(tile.span) * task.layout.max_pages + number];
    return (static_cast<long long>(page) * task.args.kv_heads + kv_head) * kPageSize * task.args.head_dim;
  }
};

/// Alignment of pages in shared memory: that of a row of 128 elements of 16 bits. Where c and n have no bit in common,
/// chunk c + n of a row then lies at the address of chunk c xor 16 n, swizzled or not.
inline constexpr int kRingAlignment = 256;

/// The keys and values of one page, [32, kDim] each; zeros past D and from key `seen` on. A thread has one column of
/// chunks, so that little is left to do for each.
template <typename Half, int kDim>
__device__ void copy_page(const Queries& queries, int number, int seen, uint4* keys, uint4* values) {
  constexpr int kChunks = kDim / 8;
  const int dim = queries.task.args.head_dim;
  int thread = static_cast<int>(threadIdx.x);
  asm volatile("" : "+r"(thread));  // what follows is computed again for each page: registers are scarce
  const int chunk = thread % kChunks;
  const int first = thread / kChunks, step = static_cast<int>(blockDim.x) / kChunks;
  const long long begin = queries.page(number) + first * dim + chunk * 8;
  const auto* from_keys = static_cast<const Half*>(queries.task.args.pages.keys) + begin;
  const auto* from_values = static_cast<const Half*>(queries.task.args.pages.values) + begin;
  const int valid_keys = chunk * 8 < dim ? seen : 0;
  for (int key = first; key < kPageSize; key += step) {
    const int to = swizzled<kChunks>(key, chunk);
    copy_async(keys + to, from_keys, key < valid_keys);
    copy_async(values + to, from_values, key < valid_keys);
    from_keys += step * dim;
    from_values += step * dim;
  }
}

/// o, m and l of a warp's 16 queries. A lane holds parts of two of them: rows g and g + 8.
template <int kDim>
struct Sums {
  float out[kDim / 8][4];
  float largest[2];
  float total[2];

  __device__ void clear(float zero) {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][i] = zero;
    }
    largest[0] = largest[1] = kMinusInfinity;
    total[0] = total[1] = zero;
  }
};

/// The 16 queries of a warp and their sums over the present split.
template <typename Half, int kDim>
struct WarpState : Sums<kDim> {
  std::uint32_t q[kDim / 16][4];
  int position[2];
};

/// Two neighbouring elements of q, zeros past D or past the last query.
template <typename Half>
__device__ std::uint32_t load_pair(const Half* row, int column, int dim) {
  return row != nullptr && column < dim ? *reinterpret_cast<const std::uint32_t*>(row + column) : 0;
}

template <typename Half, int kDim>
__device__ void start(const Queries& queries, int first, WarpState<Half, kDim>& state) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const int dim = queries.task.args.head_dim;
  const auto* q = static_cast<const Half*>(queries.task.args.q);
  const Half* rows[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int query = first + g + 8 * i;
    const bool valid = query < queries.end();
    rows[i] = valid ? q + queries.index(query) * dim : nullptr;
    state.position[i] = valid ? queries.task.layout.position[queries.row(query)] : 0;
  }
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state.q[k][i] = load_pair(rows[i & 1], 16 * k + 2 * t + 8 * (i >> 1), dim);
  }
  state.clear(0);
}

/// scores [16, 32] = q k^T.
template <typename Half, int kDim>
__device__ void score(const WarpState<Half, kDim>& state, const uint4* keys, float (&scores)[4][4]) {
  constexpr int kChunks = kDim / 8;
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int n = 0; n < 4; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = 0;
  }
  const int place = swizzled<kChunks>((lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
  const std::uint32_t pairs[2] = {shared_address(keys + place), shared_address(keys + place + 16 * kChunks)};
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {  // 16 keys
      std::uint32_t b[4];
      load_matrices(b, pairs[pair] ^ 32 * k);  // chunk 2 k further: see kRingAlignment
      multiply_add<Half>(scores[2 * pair], state.q[k], b[0], b[1]);
      multiply_add<Half>(scores[2 * pair + 1], state.q[k], b[2], b[3]);
    }
  }
}

/// Products q k become p; m, l and o move on. Of a query that has seen no key yet all stay 0, m is none.
template <typename Half, int kDim>
__device__ void softmax_page(WarpState<Half, kDim>& state, int first_key, float scale, float (&scores)[4][4]) {
  const int t = static_cast<int>(threadIdx.x % 4);
  const float to_power = scale * kLog2E;
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // rows g and g + 8
    float largest = kMinusInfinity;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& s = scores[n][2 * half + i];
        s = first_key + 8 * n + 2 * t + i <= state.position[half] ? s : kMinusInfinity;
        largest = fmaxf(largest, s);
      }
    }
    largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 2));
    largest = fmaxf(largest * to_power, state.largest[half]);
    const float top = largest == kMinusInfinity ? 0 : largest;
    const float correction = power_of_two(state.largest[half] - top);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& s = scores[n][2 * half + i];
        s = power_of_two(fmaf(s, to_power, -top));
        sum += s;
      }
    }
    sum += __shfl_xor_sync(kWholeWarp, sum, 1);
    sum += __shfl_xor_sync(kWholeWarp, sum, 2);
    state.largest[half] = largest;
    state.total[half] = fmaf(state.total[half], correction, sum);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      state.out[n][2 * half] *= correction;
      state.out[n][2 * half + 1] *= correction;
    }
  }
}

/// o += p v, p rounded to 16 bits: the C fragments of s are the A fragments of p.
template <typename Half, int kDim>
__device__ void add_values(WarpState<Half, kDim>& state, const uint4* values, const float (&p)[4][4]) {
  constexpr int kChunks = kDim / 8;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int place = swizzled<kChunks>(lane & 15, lane >> 4);
#pragma unroll
  for (int k = 0; k < 2; ++k) {  // 16 keys
    const std::uint32_t rows = shared_address(values + place + 16 * k * kChunks);
    const std::uint32_t a[4] = {pack<Half>(p[2 * k][0], p[2 * k][1]), pack<Half>(p[2 * k][2], p[2 * k][3]),
                                pack<Half>(p[2 * k + 1][0], p[2 * k + 1][1]),
                                pack<Half>(p[2 * k + 1][2], p[2 * k + 1][3])};
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      std::uint32_t b[4];
      load_matrices_transposed(b, rows ^ 16 * n);
      multiply_add<Half>(state.out[n], a, b[0], b[1]);
      multiply_add<Half>(state.out[n + 1], a, b[2], b[3]);
    }
  }
}

/// The split that begins at `first_key` is added to the totals of those queries that see that key, and started again.
template <typename Half, int kDim>
__device__ void add_split(Sums<kDim>& totals, WarpState<Half, kDim>& state, int first_key) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (state.position[half] < first_key) continue;
    const SplitWeights weights(totals.largest[half], state.largest[half]);
    totals.largest[half] = weights.largest;
    totals.total[half] = weights.add(totals.total[half], state.total[half]);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        totals.out[n][i] = weights.add(totals.out[n][i], state.out[n][i]);
      }
    }
  }
  state.clear(0);
}

/// out = O / L, lse = (M + log2 L) / log2(e) and the parts of z of the warp's queries. All threads of the block must
/// call; the pages in the ring are lost.
template <typename Half, int kDim>
__device__ void finish(const Queries& queries, int first, const Sums<kDim>& totals, uint4* ring) {
  const AttentionTask& task = queries.task;
  int thread = static_cast<int>(threadIdx.x);
  asm volatile("" : "+r"(first), "+r"(thread));  // places are found here, not ahead of the pages: registers are scarce
  const int lane = thread % 32, g = lane / 4, t = lane % 4;
  const int dim = task.args.head_dim;
  std::uint32_t out[2][kDim / 8];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float inverse = 1.0F / totals.total[half];
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      out[half][n] = pack<Half>(totals.out[n][2 * half] * inverse, totals.out[n][2 * half + 1] * inverse);
    }
  }
  long long index[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + g + 8 * half;
    index[half] = query < queries.end() ? queries.index(query) : -1;
    if (index[half] < 0) continue;
    auto* row = static_cast<Half*>(task.args.out) + index[half] * dim + 2 * t;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      if (8 * n < dim) *reinterpret_cast<std::uint32_t*>(row + 8 * n) = out[half][n];
    }
    if (t == 0 && task.args.lse != nullptr) {
      task.args.lse[index[half]] = fmaf(totals.largest[half], kLn2, logf(totals.total[half]));
    }
  }
  if (task.update.rank == 0) return;
  add_parts<Half, kDim>(task, queries.kv_head, first, queries.end(), index, out, reinterpret_cast<float*>(ring));
  arrive(task, t == 0 ? index[0] : t == 1 ? index[1] : -1);
}

/// Calls body(number, keys, values) with pages begin .. end - 1 of the tile's sequences in shared memory, keys up to
/// position `last`. All threads of the block must call.
template <typename Half, int kDim, class Body>
__device__ void stream_pages(const Queries& queries, int begin, int end, int last, uint4* ring, Body body) {
  constexpr int kPageChunks = kPageSize * kDim / 8;
  const auto stage = [&](int number) { return ring + (number - begin) % kAttentionStages * 2 * kPageChunks; };
  const auto request = [&](int number) {
    if (number < end) {
      uint4* keys = stage(number);
      copy_page<Half, kDim>(queries, number, last + 1 - number * kPageSize, keys, keys + kPageChunks);
    }
    commit_copies();
  };
  for (int number = begin; number < begin + kAttentionStages - 1; ++number) request(number);
  for (int number = begin; number < end; ++number) {
    wait_for_copies<kAttentionStages - 2>();
    __syncthreads();
    request(number + kAttentionStages - 1);
    body(number, stage(number), stage(number) + kPageChunks);
  }
}

/// The forward pass over such pages. `at_end_of_split` is called by every warp that has queries, with the first key of
/// the split.
template <typename Half, int kDim, class AtEndOfSplit>
__device__ void visit_pages(const Queries& queries, int first, int begin, int end, int last, uint4* ring,
                            WarpState<Half, kDim>& state, AtEndOfSplit at_end_of_split) {
  const float scale = 1.0F / sqrtf(static_cast<float>(queries.task.args.head_dim));
  stream_pages<Half, kDim>(queries, begin, end, last, ring, [&](int number, const uint4* keys, const uint4* values) {
    if (first >= queries.end()) return;  // a whole warp without queries
    float scores[4][4];
    score(state, keys, scores);
    softmax_page(state, number * kPageSize, scale, scores);
    add_values(state, values, scores);
    if ((number + 1) % kSplitPages == 0 || number + 1 == end) {
      at_end_of_split(number / kSplitPages * kSplitPages * kPageSize);
    }
  });
}

}  // namespace tinylora::cuda
