// With p = e^(s - lse), delta = d_out . out and ds = p (d_out v^T - delta) / sqrt(D), s recomputed:
//   dq = ds k      d_keys = ds^T q      d_values = p^T d_out
// in two passes, so that every sum has one owner and needs no atomics.
//
// attention_dq_*   grid (tiles of 32 queries, kv heads): delta, then the pages from position 0, keys ascending.
// attention_dkv_*  grid (page of the sequence, span, kv head): the first span that reads a page owns it and sums over
//                  the queries of all spans that do, spans ascending, queries ascending; a shared page stands at the
//                  same place in every page table. Every slot of the page is written, unread ones with 0.
// A block keeps 32 queries and 32 keys (q, d_out, k, v: 4 * 32 * (D + 1) floats of shared memory) and the 32 x 32
// products p and ds; 8 warps: for s and d_out v^T a lane is a key, for the sums a lane owns D / 32 elements of 4 rows
// in registers. All in float with fmaf: 10 D flops a query and key, limited by fp32 units and shared memory. For fp32,
// and in bf16 and fp16 for the heads that attention_backward_half.cu has no kernel for. kParts = elements of D a lane
// owns: 2, 4 or 8.
#include "act.cuh"
#include "attention.h"
#include "attention_readers.cuh"
#include "span_tile.cuh"
#include "warp.cuh"

namespace tinylora::cuda {
namespace {

constexpr int kRowsOfWarp = 4;
static_assert(kGradientTile == kPageSize && kGradientThreads / 32 * kRowsOfWarp == kPageSize);

/// Shared memory of a block; rows of `stride` floats, odd, so that lanes a row apart meet different banks.
struct Tiles {
  float* q;  // [queries, stride]
  float* d_out;
  float* keys;  // [keys, stride]
  float* values;
  int stride;

  __device__ Tiles(float* memory, int dim) : stride(dim + 1) {
    q = memory;
    d_out = q + kGradientTile * stride;
    keys = d_out + kGradientTile * stride;
    values = keys + kPageSize * stride;
  }
};

struct Products {
  float p[kGradientTile][kPageSize + 1];
  float ds[kGradientTile][kPageSize + 1];
  float lse[kGradientTile];
  float delta[kGradientTile];
  int position[kGradientTile];
};

/// Keys and values of a page; zeros from key `seen` on.
template <typename T>
__device__ void load_page(const Heads& heads, int page, int seen, const Tiles& tiles) {
  const int dim = heads.dim();
  const long long from = (static_cast<long long>(page) * heads.task.args.kv_heads + heads.kv_head) * kPageSize * dim;
  const T* keys = static_cast<const T*>(heads.task.args.pages.keys) + from;
  const T* values = static_cast<const T*>(heads.task.args.pages.values) + from;
  for (int t = static_cast<int>(threadIdx.x / 32); t < kPageSize; t += kGradientThreads / 32) {
    for (int d = static_cast<int>(threadIdx.x % 32); d < dim; d += 32) {
      tiles.keys[t * tiles.stride + d] = t < seen ? load(keys + t * dim + d) : 0.0F;
      tiles.values[t * tiles.stride + d] = t < seen ? load(values + t * dim + d) : 0.0F;
    }
  }
}

/// Queries [first, first + count) of a span; behind them zeros that see no key.
template <typename T>
__device__ void load_queries(const Heads& heads, int span, int first, int count, const Tiles& tiles, Products& own) {
  const int dim = heads.dim();
  for (int i = static_cast<int>(threadIdx.x / 32); i < kGradientTile; i += kGradientThreads / 32) {
    const bool valid = i < count;
    const long long index = valid ? heads.index(span, first + i) : 0;
    const T* q = static_cast<const T*>(heads.task.args.q) + index * dim;
    const float* d_out = heads.task.args.d_out + index * dim;
    for (int d = static_cast<int>(threadIdx.x % 32); d < dim; d += 32) {
      tiles.q[i * tiles.stride + d] = valid ? load(q + d) : 0.0F;
      tiles.d_out[i * tiles.stride + d] = valid ? d_out[d] : 0.0F;
    }
    if (threadIdx.x % 32 == 0) {
      own.lse[i] = valid ? heads.task.args.lse[index] : 0.0F;
      own.position[i] = valid ? heads.task.layout.position[heads.row(span, first + i)] : -1;
    }
  }
}

/// p and ds of the loaded queries and page; 0 where the query stands before the key. Each warp fills its own queries.
__device__ void score_gradients(const Heads& heads, const Tiles& tiles, int first_key, Products& own) {
  const int lane = static_cast<int>(threadIdx.x % 32), row = static_cast<int>(threadIdx.x / 32) * kRowsOfWarp;
  const float scale = 1.0F / sqrtf(static_cast<float>(heads.dim()));
  float s[kRowsOfWarp] = {}, dp[kRowsOfWarp] = {};
  for (int d = 0; d < heads.dim(); ++d) {
    const float key = tiles.keys[lane * tiles.stride + d], value = tiles.values[lane * tiles.stride + d];
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      s[i] = fmaf(tiles.q[(row + i) * tiles.stride + d], key, s[i]);
      dp[i] = fmaf(tiles.d_out[(row + i) * tiles.stride + d], value, dp[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const bool seen = first_key + lane <= own.position[row + i];
    const float p = expf(s[i] * scale - own.lse[row + i]);
    own.p[row + i][lane] = seen ? p : 0.0F;
    own.ds[row + i][lane] = seen ? p * (dp[i] - own.delta[row + i]) * scale : 0.0F;
  }
}

/// delta = d_out . out of the loaded queries, for the second pass too.
template <typename T>
__device__ void compute_delta(const Heads& heads, const SpanTile& tile, const Tiles& tiles, Products& own) {
  const int lane = static_cast<int>(threadIdx.x % 32), row = static_cast<int>(threadIdx.x / 32) * kRowsOfWarp;
  for (int i = row; i < row + kRowsOfWarp; ++i) {
    float sum = 0;
    const bool valid = i < tile.count;
    const long long index = valid ? heads.index(tile.span, tile.first + i) : 0;
    const T* out = static_cast<const T*>(heads.task.args.out) + index * heads.dim();
    if (valid) {
      for (int d = lane; d < heads.dim(); d += 32) sum = fmaf(tiles.d_out[i * tiles.stride + d], load(out + d), sum);
    }
    sum = warp_sum(sum);
    if (lane != 0) continue;
    own.delta[i] = sum;
    if (valid) heads.task.delta[index] = sum;
  }
}

template <typename T, int kParts>
__device__ void attention_dq(const AttentionBackwardTask& task) {
  extern __shared__ float memory[];
  __shared__ Products own;
  const Heads heads{task, static_cast<int>(blockIdx.y)};
  const SpanTile tile = find_tile(task.layout, heads.group(), kGradientTile, heaviest_first());
  if (tile.span < 0) return;
  const Tiles tiles(memory, heads.dim());
  load_queries<T>(heads, tile.span, tile.first, tile.count, tiles, own);
  __syncthreads();
  compute_delta<T>(heads, tile, tiles, own);

  const int lane = static_cast<int>(threadIdx.x % 32), row = static_cast<int>(threadIdx.x / 32) * kRowsOfWarp;
  const int last = task.layout.position[heads.row(tile.span, tile.first + tile.count - 1)];
  float dq[kRowsOfWarp][kParts] = {};
  for (int number = 0; number <= last / kPageSize; ++number) {
    __syncthreads();
    const int seen = min(kPageSize, last + 1 - number * kPageSize);
    load_page<T>(heads, heads.page(tile.span, number), seen, tiles);
    __syncthreads();
    score_gradients(heads, tiles, number * kPageSize, own);
    __syncwarp();
    for (int t = 0; t < seen; ++t) {
#pragma unroll
      for (int j = 0; j < kParts; ++j) {
        const int d = lane + 32 * j;
        if (d >= heads.dim()) continue;
        const float key = tiles.keys[t * tiles.stride + d];
#pragma unroll
        for (int i = 0; i < kRowsOfWarp; ++i) dq[i][j] = fmaf(own.ds[row + i][t], key, dq[i][j]);
      }
    }
  }
  for (int i = 0; i < kRowsOfWarp; ++i) {
    if (row + i >= tile.count) continue;
    float* to = task.args.dq_out + heads.index(tile.span, tile.first + row + i) * heads.dim();
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      if (lane + 32 * j < heads.dim()) to[lane + 32 * j] = dq[i][j];
    }
  }
}

template <typename T, int kParts>
__device__ void attention_dkv(const AttentionBackwardTask& task) {
  extern __shared__ float memory[];
  __shared__ Products own;
  __shared__ unsigned readers[kGradientThreads / 32];
  const Heads heads{task, static_cast<int>(blockIdx.z)};
  const int number = static_cast<int>(blockIdx.x), owner = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x);
  if (!owns(heads, owner, number)) return;
  const int page = heads.page(owner, number);

  const Tiles tiles(memory, heads.dim());
  load_page<T>(heads, page, kPageSize, tiles);
  const int lane = thread % 32, warp = thread / 32, row = warp * kRowsOfWarp;
  float d_keys[kRowsOfWarp][kParts] = {}, d_values[kRowsOfWarp][kParts] = {};
  for_each_reader(heads, owner, number, readers, [&](int span) {
    const int queries = task.layout.span_rows[span] * heads.group();
    for (int first = heads.first_reader(span, number); first < queries; first += kGradientTile) {
      const int count = min(kGradientTile, queries - first);
      __syncthreads();
      load_queries<T>(heads, span, first, count, tiles, own);
      if (thread < kGradientTile)
        own.delta[thread] = thread < count ? task.delta[heads.index(span, first + thread)] : 0;
      __syncthreads();
      score_gradients(heads, tiles, number * kPageSize, own);
      __syncthreads();
      for (int i = 0; i < count; ++i) {
#pragma unroll
        for (int j = 0; j < kParts; ++j) {
          const int d = lane + 32 * j;
          if (d >= heads.dim()) continue;
          const float q = tiles.q[i * tiles.stride + d], d_out = tiles.d_out[i * tiles.stride + d];
#pragma unroll
          for (int t = 0; t < kRowsOfWarp; ++t) {
            d_keys[t][j] = fmaf(own.ds[i][row + t], q, d_keys[t][j]);
            d_values[t][j] = fmaf(own.p[i][row + t], d_out, d_values[t][j]);
          }
        }
      }
    }
  });

  for (int t = 0; t < kRowsOfWarp; ++t) {
    const long long slot = static_cast<long long>(page) * kPageSize + row + t;
    const long long to = (slot * task.args.kv_heads + heads.kv_head) * heads.dim();
#pragma unroll
    for (int j = 0; j < kParts; ++j) {
      const int d = lane + 32 * j;
      if (d >= heads.dim()) continue;
      task.args.d_keys[to + d] = d_keys[t][j];
      task.args.d_values[to + d] = d_values[t][j];
    }
  }
}

}  // namespace

#define TINYLORA_ATTENTION_BACKWARD(name, act, parts)                                                                  \
  extern "C" __global__ __launch_bounds__(kGradientThreads, 2) void attention_dq_##name(AttentionBackwardTask task) {  \
    attention_dq<act, parts>(task);                                                                                    \
  }                                                                                                                    \
  extern "C" __global__ __launch_bounds__(kGradientThreads, 2) void attention_dkv_##name(AttentionBackwardTask task) { \
    attention_dkv<act, parts>(task);                                                                                   \
  }
TINYLORA_ATTENTION_BACKWARD(64_f32, float, 2)
TINYLORA_ATTENTION_BACKWARD(128_f32, float, 4)
TINYLORA_ATTENTION_BACKWARD(256_f32, float, 8)
TINYLORA_ATTENTION_BACKWARD(256_bf16, __nv_bfloat16, 8)
TINYLORA_ATTENTION_BACKWARD(256_f16, __half, 8)
#undef TINYLORA_ATTENTION_BACKWARD

}  // namespace tinylora::cuda
