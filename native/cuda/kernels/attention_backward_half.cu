// The backward pass of attention (attention_backward.cu has the formulas) in bf16 and fp16 on tensor cores, mma.sync
// m16n8k16: 13 D multiply-adds a query and key, and nothing of [queries, keys] leaves the registers.
//
// attention_dq_*   grid (tiles of 64 queries, kv heads), 4 warps: as attention.cu, q and d_out of 16 queries in the
//                  registers of a warp, pages from position 0 through a ring of three. s = q k^T and dp = d_out v^T,
//                  then dq += ds k. Leaves delta and d_out in two terms of 16 bits for the second pass. Bytes: each
//                  page once a tile.
// attention_dkv_*  grid (span, page of the sequence, kv head), 4 warps: the page stays in shared memory, tiles of 32
//                  queries and their d_out pass it through two stages, but for the second term of d_out, which
//                  comes while s is made. A warp takes 16 keys and 16 queries of each tile, s^T = k q^T and
//                  dp^T = v d_out^T, then d_values += p^T d_out and d_keys += ds^T q, in registers, 2 * 16 D sums.
//                  The owner of a page (attention_readers.cuh) sums spans ascending, tiles ascending; at the end the
//                  sums of a tile's two halves are added in order. Bytes: q and d_out once a page.
//
// By estimate tensor cores and shared memory take about as long in both. A multiprocessor of sm_80 has two blocks of
// either: four warps of up to 255 registers.
// Scratch memory of a call: delta and the two terms of d_out, M H (4 + 4 D) bytes.
//
// Sums are float. d_out, p and ds go in as two terms of 16 bits, the rounded value and what that leaves, so that no
// more is rounded than without tensor cores but the product of two rests. ds is not multiplied by 1 / sqrt(D), its sums
// are: that leaves fp16 up to three bits more above its smallest numbers. The bits of dq depend on the query's own row
// of A; those of a page on its own readers, each tiled from the first query that sees the page.
#include "act.cuh"
#include "attention.h"
#include "attention_gradient.cuh"
#include "attention_readers.cuh"
#include "attention_tile.cuh"
#include "query_stream.cuh"

namespace tinylora::cuda {
namespace {

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

/// Rows g and g + 8 of a warp's d_out as A fragments, in two terms, and their lse and delta.
template <int kDim>
struct QueryGradients {
  std::uint32_t d_out[kDim / 16][4], rest[kDim / 16][4];
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
    Half* left = static_cast<Half*>(task.rest_of_d_out) + index * dim;
    float delta = 0;
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      TwoTerms<Half> terms;
      const int column = 8 * i + 2 * t;
      if (valid && column < dim) {
        const float2 a = *reinterpret_cast<const float2*>(d_out + column);
        const float2 b = pair_of<Half>(*reinterpret_cast<const std::uint32_t*>(out + column));
        delta = fmaf(a.x, b.x, fmaf(a.y, b.y, delta));
        terms = TwoTerms<Half>(a.x, a.y);
        *reinterpret_cast<std::uint32_t*>(rounded + column) = terms.rounded;
        *reinterpret_cast<std::uint32_t*>(left + column) = terms.rest;
      }
      own.d_out[i / 2][half + 2 * (i % 2)] = terms.rounded;
      own.rest[i / 2][half + 2 * (i % 2)] = terms.rest;
    }
    delta += __shfl_xor_sync(kWholeWarp, delta, 1);
    delta += __shfl_xor_sync(kWholeWarp, delta, 2);
    own.delta[half] = delta;
    own.lse[half] = valid ? task.args.lse[index] : 0.0F;
    if (valid && t == 0) task.delta[index] = delta;
  }
}

/// c [16, 16] = a b^T: a [16, kDim] in fragments, b 16 rows of a tile; (a + rest) b^T where there is a `rest`.
template <typename Half, int kDim>
__device__ void multiply_fragments(const std::uint32_t (&a)[kDim / 16][4], const std::uint32_t (*rest)[4],
                                   const uint4* rows, float (&c)[2][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const MatrixRow<kDim / 8> row(rows, (lane & 7) + (lane >> 4) * 8, lane >> 3 & 1);
#pragma unroll
  for (int i = 0; i < 4; ++i) c[0][i] = c[1][i] = 0;
#pragma unroll
  for (int k = 0; k < kDim / 16; ++k) {
    std::uint32_t b[4];
    load_matrices(b, row.at(2 * k));
    multiply_add<Half>(c[0], a[k], b[0], b[1]);
    multiply_add<Half>(c[1], a[k], b[2], b[3]);
    if (rest == nullptr) continue;
    multiply_add<Half>(c[0], rest[k], b[0], b[1]);
    multiply_add<Half>(c[1], rest[k], b[2], b[3]);
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
#pragma unroll 1                             // both at once spill
        for (int half_page = 0; half_page < 2; ++half_page) {
          const int first_row = 16 * half_page * kDim / 8, first_key = number * kPageSize + 16 * half_page + 2 * t;
          float s[2][4], ds[2][4];
          multiply_fragments<Half, kDim>(state.q, nullptr, keys + first_row, s);
          multiply_fragments<Half, kDim>(own.d_out, own.rest, values + first_row, ds);
#pragma unroll
          for (int n = 0; n < 2; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int half = i >> 1, key = first_key + 8 * n + (i & 1);
              score_gradient(s[n][i], ds[n][i], own.lse[half], own.delta[half], key <= state.position[half]);
            }
          }
          add_rows_of_two_terms<Half, kDim>(ds, keys + first_row, nullptr, state.out);
        }
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

constexpr int kKeyHalves = kPageSize / 16;
constexpr int kQueryHalves = kQueryTile / 16;
static_assert(kKeyHalves * kQueryHalves == kQueryThreads / 32);

/// c [16, 16] = a b^T, a and b 16 rows of tiles in shared memory; a (b + rest)^T where there are `rest_rows`.
template <typename Half, int kDim>
__device__ void multiply_tiles(const uint4* a_rows, const uint4* b_rows, const uint4* rest_rows, float (&c)[2][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const MatrixRow<kDim / 8> a_row(a_rows, lane & 15, lane >> 4);
  const int row = (lane & 7) + (lane >> 4) * 8, chunk = lane >> 3 & 1;
  const MatrixRow<kDim / 8> b_row(b_rows, row, chunk), rest_row(rest_rows == nullptr ? b_rows : rest_rows, row, chunk);
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
    if (rest_rows == nullptr) continue;
    load_matrices(b, rest_row.at(2 * k));
    multiply_add<Half>(c[0], a, b[0], b[1]);
    multiply_add<Half>(c[1], a, b[2], b[3]);
  }
}

/// One store of 8 bytes; nvcc makes two of a float2, whose banks collide.
__device__ void store_pair(float* to, float first, float second) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};\n" ::"r"(shared_address(to)), "f"(first), "f"(second) : "memory");
}

/// Writes scale times the two halves' sums of the page, added in order. `parts`: shared, [2, 32, kDim].
template <int kDim>
__device__ void finish_page(const Heads& heads, int page, const float (&sum)[kDim / 8][4], float scale, float* parts,
                            float* gradient) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const auto place = [](int row, int column) { return row * kDim + ((column / 8 ^ (row & 3)) * 8) + column % 8; };
  const int query_half = warp / kKeyHalves, row = warp % kKeyHalves * 16 + lane / 4;
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float* to = parts + query_half * kPageSize * kDim + place(row + 8 * half, 8 * n + lane % 4 * 2);
      store_pair(to, sum[n][2 * half], sum[n][2 * half + 1]);
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kPageSize * kDim / 4; i += kQueryThreads) {
    const int key = i / (kDim / 4), column = i % (kDim / 4) * 4;
    if (column >= heads.dim()) continue;
    float4 total = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int part = 0; part < kQueryHalves; ++part) {
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
  extern __shared__ __align__(128) uint4 memory[];  // keys and values, [32, kDim] each; the stages; the rest of d_out
  __shared__ QueryNumbers numbers[kQueryStages];
  __shared__ unsigned readers[kQueryThreads / 32];
  const Heads heads{task, static_cast<int>(blockIdx.z)};
  const int number = static_cast<int>(blockIdx.y), owner = static_cast<int>(blockIdx.x);
  if (!owns<kQueryThreads>(heads, owner, number)) return;

  constexpr int kChunks = kDim / 8;
  uint4 *const keys = memory, *const values = keys + kPageSize * kChunks;
  auto* const stages = reinterpret_cast<QueryStage<Half, kDim>*>(values + kPageSize * kChunks);
  auto* const rest_of_d_out = reinterpret_cast<uint4*>(stages + kQueryStages);
  const AttentionTask forward = forward_task(task);
  SpanTile of_owner;
  of_owner.span = owner;
  copy_page<Half, kDim>(Queries{forward, of_owner, heads.kv_head}, number, kPageSize, keys, values);

  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int key = warp % kKeyHalves * 16, query = warp / kKeyHalves * 16;  // of the warp
  const ScoreGradient score_gradient(heads.dim());
  float d_keys[kDim / 8][4] = {}, d_values[kDim / 8][4] = {};
  for_each_reader<kQueryThreads>(heads, owner, number, readers, [&](int span) {
    const int begin = heads.first_reader(span, number), end = task.layout.span_rows[span] * heads.group();
    const auto request = [&](int first, int stage) {
      if (first < end) {
        const TileOfQueries queries(heads, span, first);
        for_each_chunk<kDim>(queries, heads.dim(), [&](int to, long long from, bool valid) {
          copy_async(stages[stage].q + to, static_cast<const Half*>(task.args.q) + from, valid);
          copy_async(stages[stage].d_out + to, static_cast<const Half*>(task.rounded_d_out) + from, valid);
        });
        copy_numbers(queries, task, numbers[stage]);
      }
      commit_copies();
    };
    __syncthreads();  // the stages may still be read
    request(begin, 0);
    for (int first = begin, stage = 0; first < end; first += kQueryTile, stage ^= 1) {
      wait_for_copies<0>();
      __syncthreads();
      for_each_chunk<kDim>(TileOfQueries(heads, span, first), heads.dim(), [&](int to, long long from, bool valid) {
        copy_async(rest_of_d_out + to, static_cast<const Half*>(task.rest_of_d_out) + from, valid);
      });
      commit_copies();
      request(first + kQueryTile, stage ^ 1);
      const bool idle = first + query >= end;  // a whole warp without queries
      const uint4* q = stages[stage].q + query * kChunks;
      const uint4* d_out = stages[stage].d_out + query * kChunks;
      const uint4* rest = rest_of_d_out + query * kChunks;
      float p[2][4], ds[2][4];
      if (!idle) multiply_tiles<Half, kDim>(keys + key * kChunks, q, nullptr, p);
      wait_for_copies<1>();
      __syncthreads();
      if (idle) continue;
      multiply_tiles<Half, kDim>(values + key * kChunks, d_out, rest, ds);
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
      add_rows_of_two_terms<Half, kDim>(p, d_out, rest, d_values);
      add_rows_of_two_terms<Half, kDim>(ds, q, nullptr, d_keys);
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
  extern "C" __global__ __launch_bounds__(kQueryThreads,                                                  \
                                          2) void attention_dkv_##T##_##dim(AttentionBackwardTask task) { \
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
