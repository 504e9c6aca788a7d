// out = softmax(q k^T / sqrt(D)) v over positions 0 .. position[m] of the row's own sequence, and lse their
// log-sum-exp, for spans of many rows, in the order of attention_tile.cuh: bf16 and fp16 on tensor cores. With them z
// of the product that reads out (attention_update.cuh). Decoding is attention_decode.cu.
//
// A block of 4 warps takes 64 queries of a span and kv head and walks their pages; the totals over the splits stay in
// registers beside the sums of the split, D/2 numbers a lane each. Bytes: each page once a tile of 64 queries, 2 D 32
// numbers of 16 bits; 4 D flops a query, key: tensor cores are the limit.
#include "attention_tile.cuh"

namespace tinylora::cuda {
namespace {

/// Grid: tiles, kv heads.
template <typename Half, int kDim>
__device__ void attention(const AttentionTask& task) {
  extern __shared__ __align__(kRingAlignment) uint4 ring[];  // [stages, keys and values, 32 D / 8]
  Queries queries{task, {}, static_cast<int>(blockIdx.y)};
  queries.tile = find_tile(task.layout, queries.group(), kAttentionWarps * kAttentionTile, heaviest_first());
  if (queries.tile.span < 0) return;

  const int first = queries.tile.first + static_cast<int>(threadIdx.x / 32) * kAttentionTile;
  const int last = task.layout.position[queries.row(queries.end() - 1)];
  WarpState<Half, kDim> state;
  start(queries, first, state);
  Sums<kDim> totals;
  totals.clear(kNothing);
  visit_pages(queries, first, 0, last / kPageSize + 1, last, ring, state,
              [&](int first_key) { add_split(totals, state, first_key); });
  finish<Half>(queries, first, totals, ring);
}

}  // namespace

#define TINYLORA_ATTENTION(T, dim, Half)                                                                      \
  extern "C" __global__ __launch_bounds__(kAttentionThreads) void attention_##T##_##dim(AttentionTask task) { \
    attention<Half, dim>(task);                                                                               \
  }
TINYLORA_ATTENTION(bf16, 32, __nv_bfloat16)
TINYLORA_ATTENTION(bf16, 64, __nv_bfloat16)
TINYLORA_ATTENTION(bf16, 128, __nv_bfloat16)
TINYLORA_ATTENTION(f16, 32, __half)
TINYLORA_ATTENTION(f16, 64, __half)
TINYLORA_ATTENTION(f16, 128, __half)
#undef TINYLORA_ATTENTION

}  // namespace tinylora::cuda
