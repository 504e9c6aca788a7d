// The backward pass of attention without tensor cores. With p = e^(s - lse), delta = d_out . out and
// ds = p (d_out v^T - delta) / sqrt(D), where s = q k^T / sqrt(D) is computed again:
//   dq = ds k      d_keys = ds^T q      d_values = p^T d_out
// in two passes, so that every sum has one owner and needs no atomics.
//
// attention_dq_*   grid (tiles of 32 queries, kv heads): delta, then the pages from position 0, keys ascending.
// attention_dkv_*  grid (span, page of the sequence, kv head): the first span that reads a page owns it and sums over
//                  the queries of all spans that do, spans ascending, queries ascending; a shared page stands at the
//                  same place in every page table. Every slot of the page is written, unread ones with 0.
// A block keeps a slab of up to 128 columns of 32 queries and 32 keys (q, d_out, k, v: 4 * 32 * 129 floats of shared
// memory) and the 32 x 32 products p and ds, 75 KB: two blocks on a multiprocessor of sm_80. 8 warps: for s and
// d_out v^T a lane is a key, for the sums a lane owns D / 32 elements of 4 rows in registers. Past 128 columns s and
// d_out v^T are summed slab after slab, and the gradients take the slabs backwards, since the last is still there; what
// stays where one slab is all is then read again for every tile: 4.5 D (dq) and 5 D numbers a row of a tile where 2 D
// would do. All in float with fmaf: 10 D flops a query and key, limited by fp32 units and shared memory. For fp32, and
// in bf16 and fp16 for the heads that attention_backward_half.cu has no kernel for. kParts = elements of D a lane owns:
// 2, 4 or 8.
#include "gradient_slab.cuh"

namespace tinylora::cuda {
namespace {

constexpr int kRowsOfWarp = 4;
static_assert(kGradientTile == kPageSize && kGradientThreads / 32 * kRowsOfWarp == kPageSize);

struct Products {
  float p[kGradientTile][kPageSize + 1];
  float ds[kGradientTile][kPageSize + 1];
  float lse[kGradientTile];
  float delta[kGradientTile];
  int position[kGradientTile];
};

/// lse and position of the queries of a tile; past the last one, positions that see no key.
__device__ void load_sights(const Heads& heads, const SpanTile& tile, Products& own) {
  const int i = static_cast<int>(threadIdx.x);
  if (i >= kGradientTile) return;
  const bool valid = i < tile.count;
  own.lse[i] = valid ? heads.task.args.lse[heads.index(tile.span, tile.first + i)] : 0.0F;
  own.position[i] = valid ? heads.task.layout.position[heads.row(tile.span, tile.first + i)] : -1;
}

/// s sqrt(D) and d_out v^T of a warp's queries and a lane's key, over the slabs so far.
struct ScoreSums {
  float s[kRowsOfWarp] = {};
  float dp[kRowsOfWarp] = {};

  template <int kParts>
  __device__ void add(const Tiles<kParts>& tiles) {
    const int lane = static_cast<int>(threadIdx.x % 32), row = static_cast<int>(threadIdx.x / 32) * kRowsOfWarp;
#pragma unroll 4
    for (int d = 0; d < tiles.columns; ++d) {
      const float key = tiles.keys[lane * tiles.stride + d], value = tiles.values[lane * tiles.stride + d];
#pragma unroll
      for (int i = 0; i < kRowsOfWarp; ++i) {
        s[i] = fmaf(tiles.q[(row + i) * tiles.stride + d], key, s[i]);
        dp[i] = fmaf(tiles.d_out[(row + i) * tiles.stride + d], value, dp[i]);
      }
    }
  }
};

/// p and ds of a tile's queries and a page; 0 where the query stands before the key. Each warp fills its own queries.
__device__ void score_gradients(const Heads& heads, const ScoreSums& sums, int first_key, Products& own) {
  const int lane = static_cast<int>(threadIdx.x % 32), row = static_cast<int>(threadIdx.x / 32) * kRowsOfWarp;
  const float scale = 1.0F / sqrtf(static_cast<float>(heads.dim()));
#pragma unroll
  for (int i = 0; i < kRowsOfWarp; ++i) {
    const bool seen = first_key + lane <= own.position[row + i];
    const float p = expf(sums.s[i] * scale - own.lse[row + i]);
    own.p[row + i][lane] = seen ? p : 0.0F;
    own.ds[row + i][lane] = seen ? p * (sums.dp[i] - own.delta[row + i]) * scale : 0.0F;
  }
}

/// delta = d_out . out of a tile's queries, for the second pass too. Each warp fills its own queries.
template <typename T>
__device__ void compute_delta(const Heads& heads, const SpanTile& tile, Products& own) {
  const int lane = static_cast<int>(threadIdx.x % 32), row = static_cast<int>(threadIdx.x / 32) * kRowsOfWarp;
  for (int i = row; i < row + kRowsOfWarp; ++i) {
    float sum = 0;
    const bool valid = i < tile.count;
    const long long index = valid ? heads.index(tile.span, tile.first + i) : 0;
    const T* out = static_cast<const T*>(heads.task.args.out) + index * heads.dim();
    const float* d_out = heads.task.args.d_out + index * heads.dim();
    if (valid) {
      for (int d = lane; d < heads.dim(); d += 32) sum = fmaf(d_out[d], load(out + d), sum);
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
  load_sights(heads, tile, own);
  compute_delta<T>(heads, tile, own);

  Tiles<kParts> tiles(memory, heads.dim());
  const int lane = static_cast<int>(threadIdx.x % 32), row = static_cast<int>(threadIdx.x / 32) * kRowsOfWarp;
  const int last = task.layout.position[heads.row(tile.span, tile.first + tile.count - 1)];
  float dq[kRowsOfWarp][kParts] = {};
  for (int number = 0; number <= last / kPageSize; ++number) {
    const int page = heads.page(tile.span, number), seen = min(kPageSize, last + 1 - number * kPageSize);
    ScoreSums sums;
    for (int slab = 0; slab < tiles.slabs(); ++slab) {
      tiles.choose(slab);
      __syncthreads();
      if (number == 0 || tiles.slabs() > 1) load_queries<T>(heads, tile, tiles);
      load_page<T>(heads, page, seen, tiles);
      __syncthreads();
      sums.add(tiles);
    }
    score_gradients(heads, sums, number * kPageSize, own);
    __syncwarp();
#pragma unroll
    for (int slab = Tiles<kParts>::kSlabs - 1; slab >= 0; --slab) {
      if (slab >= tiles.slabs()) continue;
      if (slab < tiles.slabs() - 1) {
        tiles.choose(slab);
        __syncthreads();
        load_page<T, false>(heads, page, seen, tiles);
        __syncthreads();
      }
#pragma unroll 4
      for (int t = 0; t < seen; ++t) {
#pragma unroll
        for (int j = 0; j < Tiles<kParts>::kPartsOfSlab; ++j) {
          const int d = lane + 32 * j, part = slab * Tiles<kParts>::kPartsOfSlab + j;
          if (d >= tiles.columns) continue;
          const float key = tiles.keys[t * tiles.stride + d];
#pragma unroll
          for (int i = 0; i < kRowsOfWarp; ++i) dq[i][part] = fmaf(own.ds[row + i][t], key, dq[i][part]);
        }
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
  const int number = static_cast<int>(blockIdx.y), owner = static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x);
  if (!owns<kGradientThreads>(heads, owner, number)) return;
  const int page = heads.page(owner, number);

  Tiles<kParts> tiles(memory, heads.dim());
  const auto load_slab_of_page = [&](int slab) {
    tiles.choose(slab);
    load_page<T>(heads, page, kPageSize, tiles);
  };
  if (tiles.slabs() == 1) load_slab_of_page(0);
  const int lane = thread % 32, warp = thread / 32, row = warp * kRowsOfWarp;
  float d_keys[kRowsOfWarp][kParts] = {}, d_values[kRowsOfWarp][kParts] = {};
  for_each_reader<kGradientThreads>(heads, owner, number, readers, [&](int span) {
    const int queries = task.layout.span_rows[span] * heads.group();
    for (int first = heads.first_reader(span, number); first < queries; first += kGradientTile) {
      const SpanTile tile{span, first, min(kGradientTile, queries - first)};
      load_sights(heads, tile, own);
      if (thread < kGradientTile) {
        own.delta[thread] = thread < tile.count ? task.delta[heads.index(span, first + thread)] : 0;
      }
      ScoreSums sums;
      for (int slab = 0; slab < tiles.slabs(); ++slab) {
        __syncthreads();
        if (tiles.slabs() > 1) load_slab_of_page(slab);
        load_queries<T>(heads, tile, tiles);
        __syncthreads();
        sums.add(tiles);
      }
      score_gradients(heads, sums, number * kPageSize, own);
      __syncthreads();
#pragma unroll
      for (int slab = Tiles<kParts>::kSlabs - 1; slab >= 0; --slab) {
        if (slab >= tiles.slabs()) continue;
        if (slab < tiles.slabs() - 1) {
          tiles.choose(slab);
          __syncthreads();
          load_queries<T>(heads, tile, tiles);
          __syncthreads();
        }
#pragma unroll 4
        for (int i = 0; i < tile.count; ++i) {
#pragma unroll
          for (int j = 0; j < Tiles<kParts>::kPartsOfSlab; ++j) {
            const int d = lane + 32 * j, part = slab * Tiles<kParts>::kPartsOfSlab + j;
            if (d >= tiles.columns) continue;
            const float q = tiles.q[i * tiles.stride + d], d_out = tiles.d_out[i * tiles.stride + d];
#pragma unroll
            for (int t = 0; t < kRowsOfWarp; ++t) {
              d_keys[t][part] = fmaf(own.ds[i][row + t], q, d_keys[t][part]);
              d_values[t][part] = fmaf(own.p[i][row + t], d_out, d_values[t][part]);
            }
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
