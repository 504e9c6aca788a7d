// The way back of attention (attention_backward.cu has the formulas) in bf16 and fp16 on tensor cores, mma.sync
// m16n8k16: 10 D multiply-adds a query and key, and nothing of [queries, keys] leaves the registers.
//
// attention_dq_*   grid (tiles of 64 queries, kv heads), 4 warps: as attention.cu, q and d_out of 16 queries in the
//                  registers of a warp, pages from position 0 through a ring of three. s = q k^T and dp = d_out v^T,
//                  then dq += ds k. Leaves delta, and d_out in 16 bits for the second pass. Bytes: each page once a
//                  tile.
// attention_dkv_*  grid (page of the sequence, span, kv head), 8 warps: the page stays in shared memory, tiles of 64
//                  queries and their d_out pass it through two stages. A warp takes 16 keys and 16 queries of each
//                  tile, s^T = k q^T and dp^T = v d_out^T, then d_values += p^T d_out and d_keys += ds^T q, in
//                  registers, 2 * 16 D sums. The owner of a page (attention_readers.cuh) sums spans ascending, tiles
//                  ascending; at the end the sums of a tile's four quarters are added in order. Bytes: q and d_out once
//                  a page.
//
// By estimate tensor cores and shared memory take about as long in both, the latter a little longer in attention_dkv.
// Scratch memory of a call: delta and the rounded d_out, M H (4 + 2 D) bytes.
//
// Sums are float. p and ds go in as two terms of 16 bits, the rounded value and what that leaves; d_out is rounded
// once, and delta is that of the rounded one, so that the ds of a query still sum to 0. ds is not multiplied by
// 1 / sqrt(D), its sums are: that leaves fp16 up to three bits more above its smallest numbers. The bits of dq depend
// on the query's own row of A; those of a page on its own readers, each tiled from the first query that sees the page.
#include "act.cuh"
#include "attention.h"
#include "attention_readers.cuh"
#include "attention_tile.cuh"

namespace tinylora::cuda {
namespace {

constexpr float kLog2E = 1.4426950408889634F;
constexpr int kKeyHalves = kPageSize / 16;
constexpr int kQueryQuarters = kQueryTile / 16;
static_assert(kKeyHalves * kQueryQuarters == kGradientThreads / 32);

/// What the pieces shared with the forward pass ask for.
__device__ AttentionTask forward_task(const AttentionBackwardTask& task) {
  AttentionTask forward{task.layout, {}, {}};
  forward.args.heads = task.args.heads;
  forward.args.kv_heads = task.args.kv_heads;
  forward.args.head_dim = task.args.head_dim;
  forward.args.q = task.args.q;
  forward.args.pages = task.args.pages;
  return forward;
}

/// p = e^(s / sqrt(D) - lse) and ds = p (dp - delta), 0 where the query does not see the key.
struct ScoreGradient {
  float scale;  // log2(e) / sqrt(D)

  __device__ explicit ScoreGradient(int dim) : scale(kLog2E / sqrtf(static_cast<float>(dim))) {}
  /// s becomes p, dp becomes ds.
  __device__ void operator()(float& s, float& dp, float lse, float delta, bool seen) const {
    const float p = exp2f(fmaf(s, scale, -kLog2E * lse));
    s = seen ? p : 0.0F;
    dp = seen ? p * (dp - delta) : 0.0F;
  }
};

/// Rows g and g + 8 of a warp's d_out as A fragments, and their lse and delta.
template <int kDim>
struct QueryGradients {
  std::uint32_t d_out[kDim / 16][4];
  float lse[2], delta[2];
};

template <typename Half, int kDim>
__device__ void load_gradients(const AttentionBackwardTask& task, const Queries& queries, int first,
                               QueryGradients<kDim>& own) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const int dim = task.args.head_dim;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + g + 8 * half;
    const bool valid = query < queries.end();
    const long long index = valid ? queries.index(query) : 0;
    const float* d_out = task.args.d_out + index * dim;
    const Half* out = static_cast<const Half*>(task.args.out) + index * dim;
    Half* rounded = static_cast<Half*>(task.rounded_d_out) + index * dim;
    float delta = 0;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      std::uint32_t& fragment = own.d_out[i / 2][half + 2 * (i % 2)];
      const int column = 8 * i + 2 * t;
      fragment = 0;
      if (!valid || column >= dim) continue;
      const float2 exact = *reinterpret_cast<const float2*>(d_out + column);
      fragment = pack<Half>(exact.x, exact.y);
      *reinterpret_cast<std::uint32_t*>(rounded + column) = fragment;
      const float2 a = pair_of<Half>(fragment),
                   b = pair_of<Half>(*reinterpret_cast<const std::uint32_t*>(out + column));
      delta = fmaf(a.x, b.x, fmaf(a.y, b.y, delta));
    }
    delta += __shfl_xor_sync(kWholeWarp, delta, 1);
    delta += __shfl_xor_sync(kWholeWarp, delta, 2);
    own.delta[half] = delta;
    own.lse[half] = valid ? task.args.lse[index] : 0.0F;
    if (valid && t == 0) task.delta[index] = delta;
  }
}

/// sum [16, kDim] += a b as add_rows, a in two terms of 16 bits: rounded, and what that leaves.
template <typename Half, int kDim, int kSteps>
__device__ void add_rows_of_two_terms(const float (&p)[2 * kSteps][4], const uint4* rows, float (&sum)[kDim / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
    const MatrixRow<kDim / 8> own(rows, 16 * k + (lane & 15), lane >> 4);
    std::uint32_t a[4], rest[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float low = p[2 * k + (i >> 1)][2 * (i & 1)], high = p[2 * k + (i >> 1)][2 * (i & 1) + 1];
      a[i] = pack<Half>(low, high);
      const float2 pair = pair_of<Half>(a[i]);
      rest[i] = pack<Half>(low - pair.x, high - pair.y);
    }
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      std::uint32_t b[4];
      load_matrices_transposed(b, own.at(n));
      multiply_add<Half>(sum[n], a, b[0], b[1]);
      multiply_add<Half>(sum[n + 1], a, b[2], b[3]);
      multiply_add<Half>(sum[n], rest, b[0], b[1]);
      multiply_add<Half>(sum[n + 1], rest, b[2], b[3]);
    }
  }
}

template <typename Half, int kDim>
__device__ void attention_dq(const AttentionBackwardTask& task) {
  extern __shared__ __align__(128) uint4 memory[];  // [stages, keys and values, 32 D / 8]
  const AttentionTask forward = forward_task(task);
  Queries queries{forward, {}, static_cast<int>(blockIdx.y)};
  queries.tile = find_tile(task.layout, queries.group(), kAttentionWarps * kAttentionTile, heaviest_first());
  if (queries.tile.span < 0) return;
  const int first = queries.tile.first + static_cast<int>(threadIdx.x / 32) * kAttentionTile;
  const int last = task.layout.position[queries.row(queries.end() - 1)];
  WarpState<Half, kDim> state;
  QueryGradients<kDim> own;
  start(queries, first, state);
  load_gradients<Half>(task, queries, first, own);

  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const ScoreGradient score_gradient(task.args.head_dim);
  stream_pages<Half, kDim>(
      queries, 0, last / kPageSize + 1, last, memory, [&](int number, const uint4* keys, const uint4* values) {
        if (first >= queries.end()) return;  // a whole warp without queries
        float s[4][4], ds[4][4];
        multiply_rows<Half, kDim>(state.q, keys, s);
        multiply_rows<Half, kDim>(own.d_out, values, ds);
#pragma unroll
        for (int n = 0; n < 4; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int half = i >> 1, key = number * kPageSize + 8 * n + 2 * t + (i & 1);
            score_gradient(s[n][i], ds[n][i], own.lse[half], own.delta[half], key <= state.position[half]);
          }
        }
        add_rows_of_two_terms<Half, kDim, 2>(ds, keys, state.out);
      });

  const float scale = 1.0F / sqrtf(static_cast<float>(task.args.head_dim));
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + g + 8 * half;
    if (query >= queries.end()) continue;
    float* to = task.args.dq_out + queries.index(query) * task.args.head_dim;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      const int column = 8 * n + 2 * t;
      if (column >= task.args.head_dim) continue;
      *reinterpret_cast<float2*>(to + column) =
          make_float2(state.out[n][2 * half] * scale, state.out[n][2 * half + 1] * scale);
    }
  }
}

/// c [16, 16] = a b^T, a and b 16 rows of tiles in shared memory.
template <typename Half, int kDim>
__device__ void multiply_tiles(const uint4* a_rows, const uint4* b_rows, float (&c)[2][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const MatrixRow<kDim / 8> a_row(a_rows, lane & 15, lane >> 4);
  const MatrixRow<kDim / 8> b_row(b_rows, (lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) c[n][i] = 0;
  }
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    std::uint32_t a[4], b[4];
    load_matrices(a, a_row.at(2 * k));
    load_matrices(b, b_row.at(2 * k));
    multiply_add<Half>(c[0], a, b[0], b[1]);
    multiply_add<Half>(c[1], a, b[2], b[3]);
  }
}

/// A tile of queries on its way past a page, zeros behind the last one: those add 0 to every sum.
template <typename Half, int kDim>
struct QueryStage {
  uint4 q[kQueryTile * kDim / 8];
  uint4 d_out[kQueryTile * kDim / 8];
};
struct QueryNumbers {
  float lse[kQueryTile];
  float delta[kQueryTile];
  int position[kQueryTile];
};

/// Queries first .. first + 63 of the span.
template <typename Half, int kDim>
__device__ void copy_queries(const Heads& heads, int span, int first, QueryStage<Half, kDim>& stage,
                             QueryNumbers& numbers) {
  constexpr int kChunks = kDim / 8;
  const AttentionBackwardTask& task = heads.task;
  const int dim = heads.dim(), group = heads.group();
  const int count = task.layout.span_rows[span] * group - first;
  // n / G = high word of n ceil(2^32 / G), for n G below 2^32; the factor of G = 1 does not fit.
  const unsigned factor = 0xffffffffU / static_cast<unsigned>(group) + 1;
  const auto row_of = [&](int query) {
    const auto n = static_cast<unsigned>(first + query);
    return static_cast<int>(factor == 0 ? n : __umulhi(n, factor));
  };
  const int start = static_cast<int>(heads.index(span, 0)) + first;
  const auto index_of = [&](int query) { return start + query + row_of(query) * (task.args.heads - group); };

  for (int i = static_cast<int>(threadIdx.x); i < kQueryTile * kChunks; i += kGradientThreads) {
    const int query = i / kChunks, chunk = i % kChunks;
    const bool valid = query < count && chunk * 8 < dim;
    const long long from = valid ? static_cast<long long>(index_of(query)) * dim + chunk * 8 : 0;
    const int to = swizzled<kChunks>(query, chunk);
    copy_async(stage.q + to, static_cast<const Half*>(task.args.q) + from, valid);
    copy_async(stage.d_out + to, static_cast<const Half*>(task.rounded_d_out) + from, valid);
  }
  const int query = static_cast<int>(threadIdx.x);
  if (query >= kQueryTile) return;
  const bool valid = query < count;
  const int index = valid ? index_of(query) : 0;
  const int row = valid ? task.layout.span_row[span] + row_of(query) : 0;
  copy_word_async(numbers.lse + query, task.args.lse + index, valid);
  copy_word_async(numbers.delta + query, task.delta + index, valid);
  copy_word_async(numbers.position + query, task.layout.position + row, valid);
}

/// One store of 8 bytes; nvcc makes two of a float2, whose banks collide.
__device__ void store_pair(float* to, float first, float second) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};\n" ::"r"(shared_address(to)), "f"(first), "f"(second) : "memory");
}

/// Writes scale times the four quarters' sums of the page, added in order. `parts`: shared, [4, 32, kDim].
template <int kDim>
__device__ void finish_page(const Heads& heads, int page, const float (&sum)[kDim / 8][4], float scale, float* parts,
                            float* gradient) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const auto place = [](int row, int column) { return row * kDim + ((column / 8 ^ (row & 3)) * 8) + column % 8; };
  const int quarter = warp / kKeyHalves, row = warp % kKeyHalves * 16 + lane / 4;
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float* to = parts + quarter * kPageSize * kDim + place(row + 8 * half, 8 * n + lane % 4 * 2);
      store_pair(to, sum[n][2 * half], sum[n][2 * half + 1]);
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kPageSize * kDim / 4; i += kGradientThreads) {
    const int key = i / (kDim / 4), column = i % (kDim / 4) * 4;
    if (column >= heads.dim()) continue;
    float4 total = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int part = 0; part < kQueryQuarters; ++part) {
      const float4 one = *reinterpret_cast<const float4*>(parts + part * kPageSize * kDim + place(key, column));
      total = make_float4(total.x + one.x, total.y + one.y, total.z + one.z, total.w + one.w);
    }
    const long long slot = static_cast<long long>(page) * kPageSize + key;
    float* to = gradient + (slot * heads.task.args.kv_heads + heads.kv_head) * heads.dim() + column;
    *reinterpret_cast<float4*>(to) = make_float4(total.x * scale, total.y * scale, total.z * scale, total.w * scale);
  }
  __syncthreads();
}

template <typename Half, int kDim>
__device__ void attention_dkv(const AttentionBackwardTask& task) {
  extern __shared__ __align__(128) uint4 memory[];  // keys and values, [32, kDim] each; the stages
  __shared__ QueryNumbers numbers[kQueryStages];
  __shared__ unsigned readers[kGradientThreads / 32];
  const Heads heads{task, static_cast<int>(blockIdx.z)};
  const int number = static_cast<int>(blockIdx.x), owner = static_cast<int>(blockIdx.y);
  if (!owns(heads, owner, number)) return;

  constexpr int kChunks = kDim / 8;
  uint4 *const keys = memory, *const values = keys + kPageSize * kChunks;
  auto* const stages = reinterpret_cast<QueryStage<Half, kDim>*>(values + kPageSize * kChunks);
  const AttentionTask forward = forward_task(task);
  SpanTile of_owner;
  of_owner.span = owner;
  copy_page<Half, kDim>(Queries{forward, of_owner, heads.kv_head}, number, kPageSize, keys, values);

  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int key = warp % kKeyHalves * 16, query = warp / kKeyHalves * 16;  // of the warp
  const ScoreGradient score_gradient(heads.dim());
  float d_keys[kDim / 8][4] = {}, d_values[kDim / 8][4] = {};
  for_each_reader(heads, owner, number, readers, [&](int span) {
    const int begin = heads.first_reader(span, number), end = task.layout.span_rows[span] * heads.group();
    const auto request = [&](int first, int stage) {
      if (first < end) copy_queries(heads, span, first, stages[stage], numbers[stage]);
      commit_copies();
    };
    __syncthreads();  // the stages may still be read
    request(begin, 0);
    for (int first = begin, stage = 0; first < end; first += kQueryTile, stage ^= 1) {
      wait_for_copies<0>();
      __syncthreads();
      request(first + kQueryTile, stage ^ 1);
      if (first + query >= end) continue;  // a whole warp without queries
      const uint4* q = stages[stage].q + query * kChunks;
      const uint4* d_out = stages[stage].d_out + query * kChunks;
      float p[2][4], ds[2][4];
      multiply_tiles<Half, kDim>(keys + key * kChunks, q, p);
      multiply_tiles<Half, kDim>(values + key * kChunks, d_out, ds);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const int column = query + 8 * n + lane % 4 * 2;
        const float2 lse = *reinterpret_cast<const float2*>(numbers[stage].lse + column);
        const float2 delta = *reinterpret_cast<const float2*>(numbers[stage].delta + column);
        const int2 position = *reinterpret_cast<const int2*>(numbers[stage].position + column);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int own_key = number * kPageSize + key + lane / 4 + 8 * (i >> 1);
          const bool second = (i & 1) != 0;
          score_gradient(p[n][i], ds[n][i], second ? lse.y : lse.x, second ? delta.y : delta.x,
                         own_key <= (second ? position.y : position.x));
        }
      }
      add_rows_of_two_terms<Half, kDim, 1>(p, d_out, d_values);
      add_rows_of_two_terms<Half, kDim, 1>(ds, q, d_keys);
    }
  });

  auto* const parts = reinterpret_cast<float*>(stages);
  const int page = heads.page(owner, number);
  finish_page<kDim>(heads, page, d_values, 1.0F, parts, task.args.d_values);
  finish_page<kDim>(heads, page, d_keys, 1.0F / sqrtf(static_cast<float>(heads.dim())), parts, task.args.d_keys);
}

}  // namespace

#define TINYLORA_ATTENTION_BACKWARD(T, dim, Half)                                                         \
  extern "C" __global__ __launch_bounds__(kAttentionThreads,                                              \
                                          2) void attention_dq_##T##_##dim(AttentionBackwardTask task) {  \
    attention_dq<Half, dim>(task);                                                                        \
  }                                                                                                       \
  extern "C" __global__ __launch_bounds__(kGradientThreads,                                               \
                                          1) void attention_dkv_##T##_##dim(AttentionBackwardTask task) { \
    attention_dkv<Half, dim>(task);                                                                       \
  }
TINYLORA_ATTENTION_BACKWARD(bf16, 32, __nv_bfloat16)
TINYLORA_ATTENTION_BACKWARD(bf16, 64, __nv_bfloat16)
TINYLORA_ATTENTION_BACKWARD(bf16, 128, __nv_bfloat16)
TINYLORA_ATTENTION_BACKWARD(f16, 32, __half)
TINYLORA_ATTENTION_BACKWARD(f16, 64, __half)
TINYLORA_ATTENTION_BACKWARD(f16, 128, __half)
#undef TINYLORA_ATTENTION_BACKWARD

}  // namespace tinylora::cuda
