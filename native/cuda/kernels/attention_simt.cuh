// Attention of a block without tensor cores: the queries of a tile over a run of pages, in the order of
// attention_tile.cuh (pages from position 0, splits of kSplitPages pages), all sums in float: s with d ascending, p v
// with keys ascending, fmaf.
//
// A warp owns sets of kSet queries, lane = key for s, lane = elements of D for p v: a key or value that comes from
// shared memory serves a set. Query i of the tile belongs to warp i % kSimtWarps, so that few queries are spread over
// all warps. The warps share the pages; cp.async brings a page's values while its keys are read, and the next page's
// keys while the values are. Rows of keys are 16 bytes longer than D, so that the lanes' reads lie in different banks.
//
// Keys after a query's position get p = 0; keys after those of all queries of the tile are never read.
#pragma once

#include "attention_tile.cuh"

namespace tinylora::cuda {

template <typename T, int kDim>
struct SimtShared {
  static constexpr int kStride = kDim + 16 / static_cast<int>(sizeof(T));  // of keys
  T* keys;                                                                 // [32, kStride]
  T* values;                                                               // [32, kDim]
  float* q;  // [queries of the tile, kDim], zeros from D to a multiple of 4
  float* p;  // [warps, sets, 32 keys, kSet], where weights lie here

  __device__ SimtShared(uint4* memory, int queries)
      : keys(reinterpret_cast<T*>(memory)),
        values(keys + kPageSize * kStride),
        q(reinterpret_cast<float*>(values + kPageSize * kDim)),
        p(q + queries * kDim) {}
};

/// Four neighbours as floats.
__device__ inline float4 load_four(const float* from) { return *reinterpret_cast<const float4*>(from); }
template <typename Half>
__device__ inline float4 load_four(const Half* from) {
  const uint2 words = *reinterpret_cast<const uint2*>(from);
  const float2 low = pair_of<Half>(words.x), high = pair_of<Half>(words.y);
  return make_float4(low.x, low.y, high.x, high.y);
}

/// o, m and l of a warp's queries. A lane holds elements lane, lane + 32, ... of every o, and m and l of the query
/// whose number it is.
template <int kDim, int kQueries>
struct SimtSums {
  float out[kQueries][kDim / 32];
  float largest;
  float total;

  __device__ void clear(float zero) {
    largest = kMinusInfinity;
    total = zero;
#pragma unroll
    for (int i = 0; i < kQueries; ++i) {
#pragma unroll
      for (int j = 0; j < kDim / 32; ++j) out[i][j] = zero;
    }
  }
};

/// One block's work: tile, shared memory, and each warp's sums over the present split.
template <typename T, int kDim, int kSets>
struct SimtBlock {
  static constexpr int kSet = SimtShape<kDim>::kSet, kQueries = kSets * kSet;
  static constexpr bool kSharesWeights = SimtShape<kDim>::kSharesWeights;
  using Sums = SimtSums<kDim, kQueries>;

  const Queries& queries;
  SimtShared<T, kDim> shared;
  int dim, warp, lane;
  long long index_of_lane;  // in [M, H], of the query whose number is the lane
  int position[kQueries];
  Sums sums;

  __device__ SimtBlock(const Queries& of, uint4* memory)
      : queries(of),
        shared(memory, SimtShape<kDim>::template kTile<kSets>),
        dim(of.task.args.head_dim),
        warp(static_cast<int>(threadIdx.x / 32)),
        lane(static_cast<int>(threadIdx.x % 32)),
        q_of_warp(shared.q + warp * kDim),
        p_of_warp(shared.p + warp * kSets * kPageSize * kSet) {}

  /// The warp's i-th query, which may be none of the tile's.
  __device__ int query(int i) const { return queries.tile.first + i * kSimtWarps + warp; }
  __device__ bool has(int i) const { return query(i) < queries.end(); }

  /// Every warp brings its own queries. Of a query at `position_of(i)`, keys up to there are seen.
  template <class PositionOf>
  __device__ void start(PositionOf position_of) {
    const int width = (dim + 3) / 4 * 4;
    index_of_lane = lane < kQueries && has(lane) ? queries.index(query(lane)) : 0;
#pragma unroll
    for (int i = 0; i < kQueries; ++i) position[i] = position_of(i);
#pragma unroll 1
    for (int i = 0; i < kQueries; ++i) {
      const bool valid = has(i);
      const T* row = static_cast<const T*>(queries.task.args.q) + __shfl_sync(kWholeWarp, index_of_lane, i) * dim;
      for (int d = lane; d < width; d += 32) own_q(i)[d] = valid && d < dim ? load(row + d) : 0;
    }
    __syncwarp();
    sums.clear(0);
  }

  /// Calls at_end_of_split(first key) in every warp, after pages begin .. end - 1 with keys up to position `last`. All
  /// threads of the block must call.
  template <class AtEndOfSplit>
  __device__ void visit_pages(int begin, int end, int last, AtEndOfSplit at_end_of_split) {
    const float scale = kLog2E / sqrtf(static_cast<float>(dim));
    const auto seen = [&](int number) { return min(last + 1 - number * kPageSize, kPageSize); };
    // Keys of a split before were read up to a barrier.
    copy<SimtShared<T, kDim>::kStride>(queries.task.args.pages.keys, begin, seen(begin), shared.keys);
    for (int number = begin; number < end; ++number) {
      wait_for_copies<0>();
      __syncthreads();  // the values of the page before are not read any more
      copy<kDim>(queries.task.args.pages.values, number, seen(number), shared.values);
#pragma unroll
      for (int set = 0; set < kSets; ++set) {
        if (!has(set * kSet)) continue;
        float s[kSet];
        score(set, s);
        softmax(set, number * kPageSize, scale, s);
      }
      wait_for_copies<0>();
      __syncthreads();  // the keys are not read any more
      if (number + 1 < end) {
        copy<SimtShared<T, kDim>::kStride>(queries.task.args.pages.keys, number + 1, seen(number + 1), shared.keys);
      }
#pragma unroll
      for (int set = 0; set < kSets; ++set) {
        if (has(set * kSet)) add_values(set, seen(number));
      }
      if ((number + 1) % kSplitPages == 0 || number + 1 == end) {
        at_end_of_split(number / kSplitPages * kSplitPages * kPageSize);
      }
    }
  }

  /// The split that begins at `first_key` is added to the totals of those queries that see that key, and started again.
  __device__ void add_split(Sums& totals, int first_key) {
    const SplitWeights weights(totals.largest, sums.largest);
#pragma unroll
    for (int i = 0; i < kQueries; ++i) {
      if (position[i] < first_key) continue;
      if (lane == i) {
        totals.largest = weights.largest;
        totals.total = weights.add(totals.total, sums.total);
      }
      const SplitWeights of_query = weights.of_lane(i);
#pragma unroll
      for (int j = 0; j < kDim / 32; ++j) totals.out[i][j] = of_query.add(totals.out[i][j], sums.out[i][j]);
    }
    sums.clear(0);
  }

  /// Stores o times a factor, that of each query in its lane, from `to` + index(query) D on.
  template <typename To>
  __device__ void store_out(const Sums& from, float factor, To* to) const {
#pragma unroll
    for (int i = 0; i < kQueries; ++i) {
      if (!has(i)) continue;
      To* row = to + __shfl_sync(kWholeWarp, index_of_lane, i) * dim;
      const float own_factor = __shfl_sync(kWholeWarp, factor, i);
#pragma unroll
      for (int j = 0; j < kDim / 32; ++j) {
        const int d = lane + 32 * j;
        if (d < dim) store(row + d, from.out[i][j] * own_factor);
      }
    }
  }
  /// The query in [M, H] whose m and l the lane holds, or -1.
  __device__ long long own_index() const { return lane < kQueries && has(lane) ? index_of_lane : -1; }

  /// out = O / L, lse = (M + log2 L) / log2(e) and the parts of z.
  __device__ void finish(const Sums& totals) const {
    const AttentionTask& task = queries.task;
    store_out(totals, 1.0F / totals.total, static_cast<T*>(task.args.out));
    const long long own = own_index();
    if (own >= 0 && task.args.lse != nullptr) task.args.lse[own] = fmaf(totals.largest, kLn2, logf(totals.total));
    if (task.update.rank == 0) return;
#pragma unroll 1
    for (int i = 0; i < kQueries && has(i); ++i) add_part<T>(task, __shfl_sync(kWholeWarp, own, i));
    arrive(task, own);
  }

 private:
  float *q_of_warp, *p_of_warp;
  float weights_of_lane[kSet];  // of its key, where they are not in shared memory (there is one set then)

  __device__ float* own_q(int i) const { return q_of_warp + i * kSimtWarps * kDim; }
  /// Weights of a key: those of the set's queries.
  __device__ float* own_p(int set, int key) const { return p_of_warp + (set * kPageSize + key) * kSet; }

  /// Keys or values of one page as rows of kStride, zeros from D to a multiple of 4 and from key `seen` on.
  template <int kStride>
  __device__ void copy(const void* pages, int number, int seen, T* to) const {
    const T* from = static_cast<const T*>(pages) + queries.page(number);
    if (dim * sizeof(T) % 16 == 0) {
      copy_pieces<16, kStride>(from, seen, to);
    } else {
      copy_pieces<4, kStride>(from, seen, to);
    }
    commit_copies();
  }
  template <int kBytes, int kStride>
  __device__ void copy_pieces(const T* from, int seen, T* to) const {
    constexpr int kPiece = kBytes / static_cast<int>(sizeof(T));
    const int pieces = (dim + 3) / 4 * 4 / kPiece;
    for (int key = warp; key < kPageSize; key += kSimtWarps) {
      for (int piece = lane; piece < pieces; piece += 32) {
        const bool valid = key < seen && piece * kPiece < dim;
        T* place = to + key * kStride + piece * kPiece;
        const T* source = from + (valid ? key * dim + piece * kPiece : 0);
        if constexpr (kBytes == 16) {
          copy_async(place, source, valid);
        } else {
          copy_word_async(place, source, valid);
        }
      }
    }
  }

  /// s = q k^T of the lane's key.
  __device__ void score(int set, float (&s)[kSet]) const {
    const T* key = shared.keys + lane * SimtShared<T, kDim>::kStride;
#pragma unroll
    for (int r = 0; r < kSet; ++r) s[r] = 0;
#pragma unroll 2
    for (int d = 0; d < dim; d += 4) {
      const float4 k = load_four(key + d);
#pragma unroll
      for (int r = 0; r < kSet; ++r) {
        const float4 q = load_four(own_q(set * kSet + r) + d);
        s[r] = fmaf(q.x, k.x, s[r]);
        s[r] = fmaf(q.y, k.y, s[r]);
        s[r] = fmaf(q.z, k.z, s[r]);
        s[r] = fmaf(q.w, k.w, s[r]);
      }
    }
  }

  /// Scores become p; m, l and o move on. Of a query that has seen no key yet all stay 0, m is none.
  __device__ void softmax(int set, int first_key, float scale, const float (&s)[kSet]) {
    float p[kSet];
#pragma unroll
    for (int r = 0; r < kSet; ++r) {
      const int i = set * kSet + r;
      const float mine = first_key + lane <= position[i] ? s[r] * scale : kMinusInfinity;
      const float before = __shfl_sync(kWholeWarp, sums.largest, i);
      const float largest = fmaxf(before, warp_max(mine));
      const float top = largest == kMinusInfinity ? 0 : largest;
      p[r] = power_of_two(mine - top);
      const float correction = power_of_two(before - top);
      const float sum = warp_sum(p[r]);
      if (lane == i) {
        sums.largest = largest;
        sums.total = fmaf(sums.total, correction, sum);
      }
#pragma unroll
      for (int j = 0; j < kDim / 32; ++j) sums.out[i][j] *= correction;
    }
    if constexpr (kSharesWeights) {
      *reinterpret_cast<float4*>(own_p(set, lane)) = make_float4(p[0], p[1], p[2], p[3]);
    } else {
#pragma unroll
      for (int r = 0; r < kSet; ++r) weights_of_lane[r] = p[r];
    }
  }

  /// o += p v.
  __device__ void add_values(int set, int seen) {
    int column[kDim / 32];
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) column[j] = min(lane + 32 * j, dim - 1);  // those past D are never stored
#pragma unroll 4
    for (int key = 0; key < seen; ++key) {
      alignas(16) float p[kSet];
      if constexpr (kSharesWeights) {
        *reinterpret_cast<float4*>(p) = *reinterpret_cast<const float4*>(own_p(set, key));
      } else {
#pragma unroll
        for (int r = 0; r < kSet; ++r) p[r] = __shfl_sync(kWholeWarp, weights_of_lane[r], key);
      }
#pragma unroll
      for (int j = 0; j < kDim / 32; ++j) {
        const float value = load(shared.values + key * kDim + column[j]);
#pragma unroll
        for (int r = 0; r < kSet; ++r) sums.out[set * kSet + r][j] = fmaf(p[r], value, sums.out[set * kSet + r][j]);
      }
    }
  }
};

}  // namespace tinylora::cuda
