// out = softmax(q k^T / sqrt(D)) v over positions 0 .. position[m] of the row's own sequence, page by page of 32 keys
// from position 0, with a running maximum m and total l of each query:
//   s = q k^T / sqrt(D),  m' = max(m, max s),  p = e^(s - m'),  l = l e^(m - m') + sum p,  out = out e^(m - m') + p v
// then out / l, and lse = m + log l.
//
// attention_bf16_*, attention_f16_*: tensor cores. A warp owns 16 queries (rows and heads of one kv group) as A
// fragments in registers, their sums of D in registers too; the warps of a block (4 for spans of many rows, 1 for
// decoding) share the pages, which cp.async brings two ahead into a swizzled ring of three. Per page and warp: 4 D/16
// mma for s (n = keys), one softmax over the quads that hold a row, D/8 * 2 mma for p v (n = D, p rounded to 16 bits,
// its sum is not). A query's bits depend on its own row of A alone, and pages come in order, one rescale each, never
// split by their number: so a row has the same bits by decode, by prefill, in any tile, in a block of 1 or 4 warps.
// Keys behind a query get p = 0; keys behind all queries of the tile are never read (zeros in shared memory: they may
// be NaN). Bytes: each page once a tile of 64 queries (decode: once a kv head, the least possible), 2 D 32 numbers of
// 16 bits; 4 D flops a query, key: tensor cores limit prefill, memory limits decode, where 32 KB (D = 128) are on their
// way per warp.
//
// attention_*_simt: float engines, and heads that no 16-byte copy fits (D % 8 != 0, D > 128). A warp owns one query:
// lane = key for s (k ascending, fmaf), lane = element of D for p v (keys ascending).
#include "act.cuh"
#include "attention.h"
#include "mma.cuh"
#include "span_tile.cuh"
#include "warp.cuh"

namespace tinylora::cuda {
namespace {

constexpr float kMinusInfinity = -__builtin_huge_valf();

struct Queries {
  const AttentionTask& task;
  SpanTile tile;
  int kv_head;

  __device__ int group() const { return task.args.heads / task.args.kv_heads; }
  __device__ int row(int query) const { return task.layout.span_row[tile.span] + query / group(); }
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

/// The keys and values of one page, [32, kDim] each; zeros behind D and from key `seen` on.
template <typename Half, int kDim>
__device__ void copy_page(const Queries& queries, int number, int seen, uint4* keys, uint4* values) {
  constexpr int kChunks = kDim / 8;
  const int dim = queries.task.args.head_dim;
  const long long page = queries.page(number);
  const auto* from_keys = static_cast<const Half*>(queries.task.args.pages.keys) + page;
  const auto* from_values = static_cast<const Half*>(queries.task.args.pages.values) + page;
  for (int i = static_cast<int>(threadIdx.x); i < kPageSize * kChunks; i += static_cast<int>(blockDim.x)) {
    const int key = i / kChunks, chunk = i % kChunks;
    const bool valid = key < seen && chunk * 8 < dim;
    const int from = valid ? key * dim + chunk * 8 : 0;
    const int to = swizzled<kChunks>(key, chunk);
    copy_async(keys + to, from_keys + from, valid);
    copy_async(values + to, from_values + from, valid);
  }
}

/// The 16 queries of a warp and what they carry from page to page. A lane holds parts of two of them: rows g and g + 8.
template <typename Half, int kDim>
struct WarpState {
  std::uint32_t q[kDim / 16][4];
  float out[kDim / 8][4];
  float largest[2];
  float total[2];
  int position[2];
};

/// Two neighbouring elements of q, zeros behind D or behind the last query.
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
    const bool valid = query < queries.tile.first + queries.tile.count;
    rows[i] = valid ? q + queries.index(query) * dim : nullptr;
    state.position[i] = valid ? queries.task.layout.position[queries.row(query)] : 0;
    state.largest[i] = kMinusInfinity;
    state.total[i] = 0;
  }
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state.q[k][i] = load_pair(rows[i & 1], 16 * k + 2 * t + 8 * (i >> 1), dim);
  }
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state.out[n][i] = 0;
  }
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
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {  // 16 keys
      std::uint32_t b[4];
      const int key = 16 * pair + (lane & 7) + (lane >> 4) * 8;
      load_matrices(b, keys + swizzled<kChunks>(key, 2 * k + (lane >> 3 & 1)));
      multiply_add<Half>(scores[2 * pair], state.q[k], b[0], b[1]);
      multiply_add<Half>(scores[2 * pair + 1], state.q[k], b[2], b[3]);
    }
  }
}

/// Scores become p; m, l and the sums move on.
template <typename Half, int kDim>
__device__ void softmax_page(WarpState<Half, kDim>& state, int first_key, float scale, float (&scores)[4][4]) {
  const int t = static_cast<int>(threadIdx.x % 4);
#pragma unroll
  for (int half = 0; half < 2; ++half) {  // rows g and g + 8
    float largest = state.largest[half];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& s = scores[n][2 * half + i];
        s = first_key + 8 * n + 2 * t + i <= state.position[half] ? s * scale : kMinusInfinity;
        largest = fmaxf(largest, s);
      }
    }
    largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kWholeWarp, largest, 2));
    const float correction = expf(state.largest[half] - largest);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& s = scores[n][2 * half + i];
        s = expf(s - largest);
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

/// out += p v, p rounded to bf16: the C fragments of s are the A fragments of p.
template <typename Half, int kDim>
__device__ void add_values(WarpState<Half, kDim>& state, const uint4* values, const float (&p)[4][4]) {
  constexpr int kChunks = kDim / 8;
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int k = 0; k < 2; ++k) {  // 16 keys
    const std::uint32_t a[4] = {pack<Half>(p[2 * k][0], p[2 * k][1]), pack<Half>(p[2 * k][2], p[2 * k][3]),
                                pack<Half>(p[2 * k + 1][0], p[2 * k + 1][1]),
                                pack<Half>(p[2 * k + 1][2], p[2 * k + 1][3])};
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      std::uint32_t b[4];
      load_matrices_transposed(b, values + swizzled<kChunks>(16 * k + (lane & 15), n + (lane >> 4)));
      multiply_add<Half>(state.out[n], a, b[0], b[1]);
      multiply_add<Half>(state.out[n + 1], a, b[2], b[3]);
    }
  }
}

template <typename Half, int kDim>
__device__ void finish(const Queries& queries, int first, const WarpState<Half, kDim>& state) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const int dim = queries.task.args.head_dim;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + g + 8 * half;
    if (query >= queries.tile.first + queries.tile.count) continue;
    const long long index = queries.index(query);
    auto* out = static_cast<Half*>(queries.task.args.out) + index * dim;
    const float inverse = 1.0F / state.total[half];
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      const int column = 8 * n + 2 * t;
      if (column >= dim) continue;
      *reinterpret_cast<std::uint32_t*>(out + column) =
          pack<Half>(state.out[n][2 * half] * inverse, state.out[n][2 * half + 1] * inverse);
    }
    if (t == 0 && queries.task.args.lse != nullptr) {
      queries.task.args.lse[index] = state.largest[half] + logf(state.total[half]);
    }
  }
}

/// Grid: tiles, kv heads.
template <typename Half, int kDim, int kWarps>
__device__ void attention_tensor(const AttentionTask& task) {
  constexpr int kPageChunks = kPageSize * kDim / 8;
  extern __shared__ uint4 ring[];  // [stages, keys and values, kPageChunks]
  Queries queries{task, {}, static_cast<int>(blockIdx.y)};
  queries.tile = find_tile(task.layout, queries.group(), kWarps * kAttentionTile, heaviest_first());
  if (queries.tile.span < 0) return;

  const int last = task.layout.position[queries.row(queries.tile.first + queries.tile.count - 1)];
  const int pages = last / kPageSize + 1;
  const auto request = [&](int number) {
    uint4* stage = ring + number % kAttentionStages * 2 * kPageChunks;
    if (number < pages) {
      copy_page<Half, kDim>(queries, number, last + 1 - number * kPageSize, stage, stage + kPageChunks);
    }
    commit_copies();
  };
  for (int number = 0; number < kAttentionStages - 1; ++number) request(number);

  const int first = queries.tile.first + static_cast<int>(threadIdx.x / 32) * kAttentionTile;
  const float scale = 1.0F / sqrtf(static_cast<float>(task.args.head_dim));
  WarpState<Half, kDim> state;
  start(queries, first, state);
  for (int number = 0; number < pages; ++number) {
    wait_for_copies<kAttentionStages - 2>();
    __syncthreads();
    request(number + kAttentionStages - 1);
    if (first >= queries.tile.first + queries.tile.count) continue;  // a whole warp without queries
    const uint4* keys = ring + number % kAttentionStages * 2 * kPageChunks;
    float scores[4][4];
    score(state, keys, scores);
    softmax_page(state, number * kPageSize, scale, scores);
    add_values(state, keys + kPageChunks, scores);
  }
  finish(queries, first, state);
}

/// Grid: tiles of kSimtAttentionWarps queries, kv heads. Shared: the queries, [warps, D] float.
template <typename T>
__device__ void attention_simt(const AttentionTask& task) {
  constexpr int kParts = 256 / 32;  // elements of D a lane owns
  extern __shared__ float shared_queries[];
  Queries queries{task, {}, static_cast<int>(blockIdx.y)};
  queries.tile = find_tile(task.layout, queries.group(), kSimtAttentionWarps, heaviest_first());
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  if (queries.tile.span < 0 || warp >= queries.tile.count) return;

  const int dim = task.args.head_dim;
  const long long index = queries.index(queries.tile.first + warp);
  float* q = shared_queries + warp * dim;
  for (int d = lane; d < dim; d += 32) q[d] = load(static_cast<const T*>(task.args.q) + index * dim + d);
  __syncwarp();

  const int position = task.layout.position[queries.row(queries.tile.first + warp)];
  const float scale = 1.0F / sqrtf(static_cast<float>(dim));
  float largest = kMinusInfinity, total = 0;
  float out[kParts] = {};
  for (int number = 0; number <= position / kPageSize; ++number) {
    const long long page = queries.page(number);
    const int seen = min(position + 1 - number * kPageSize, kPageSize);
    float s = kMinusInfinity;
    if (lane < seen) {
      const T* key = static_cast<const T*>(task.args.pages.keys) + page + lane * dim;
      float sum = 0;
      for (int d = 0; d < dim; ++d) sum = fmaf(q[d], load(key + d), sum);
      s = sum * scale;
    }
    const float before = largest;
    largest = fmaxf(largest, warp_max(s));
    const float p = expf(s - largest);
    const float correction = expf(before - largest);
    total = fmaf(total, correction, warp_sum(p));
#pragma unroll
    for (int j = 0; j < kParts; ++j) out[j] *= correction;
    const T* values = static_cast<const T*>(task.args.pages.values) + page;
    for (int key = 0; key < seen; ++key) {
      const float weight = __shfl_sync(kWholeWarp, p, key);
#pragma unroll
      for (int j = 0; j < kParts; ++j) {
        const int d = lane + 32 * j;
        if (d < dim) out[j] = fmaf(weight, load(values + key * dim + d), out[j]);
      }
    }
  }

  const float inverse = 1.0F / total;
#pragma unroll
  for (int j = 0; j < kParts; ++j) {
    const int d = lane + 32 * j;
    if (d < dim) store(static_cast<T*>(task.args.out) + index * dim + d, out[j] * inverse);
  }
  if (lane == 0 && task.args.lse != nullptr) task.args.lse[index] = largest + logf(total);
}

}  // namespace

// Decoding first: benchmarks/cuda/registers.mjs takes the first name that fits.
#define TINYLORA_ATTENTION(T, dim, Half)                                                                             \
  extern "C" __global__ __launch_bounds__(kDecodeWarps * 32) void attention_decode_##T##_##dim(AttentionTask task) { \
    attention_tensor<Half, dim, kDecodeWarps>(task);                                                                 \
  }                                                                                                                  \
  extern "C" __global__ __launch_bounds__(kAttentionWarps * 32) void attention_##T##_##dim(AttentionTask task) {     \
    attention_tensor<Half, dim, kAttentionWarps>(task);                                                              \
  }
TINYLORA_ATTENTION(bf16, 32, __nv_bfloat16)
TINYLORA_ATTENTION(bf16, 64, __nv_bfloat16)
TINYLORA_ATTENTION(bf16, 128, __nv_bfloat16)
TINYLORA_ATTENTION(f16, 32, __half)
TINYLORA_ATTENTION(f16, 64, __half)
TINYLORA_ATTENTION(f16, 128, __half)
#undef TINYLORA_ATTENTION

extern "C" __global__ __launch_bounds__(kSimtAttentionWarps * 32) void attention_simt_f32(AttentionTask task) {
  attention_simt<float>(task);
}
extern "C" __global__ __launch_bounds__(kSimtAttentionWarps * 32) void attention_simt_bf16(AttentionTask task) {
  attention_simt<__nv_bfloat16>(task);
}
extern "C" __global__ __launch_bounds__(kSimtAttentionWarps * 32) void attention_simt_f16(AttentionTask task) {
  attention_simt<__half>(task);
}

}  // namespace tinylora::cuda
