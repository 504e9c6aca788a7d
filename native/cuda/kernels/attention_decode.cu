// Attention of rows that continue their sequences by one token (spans of one row), for bf16 and fp16: out, lse and z as
// attention.cu has them, bit for bit.
//
// A block takes the splits of attention_splits.cuh. The queries of a tile are the rows of the mma, 64 in the 4 warps of
// a block, 10 spans of 6 heads a kv head; a tile of one span leaves warps that only copy. Where no span shares a whole
// split, blocks are one warp with a span each (attention_decode_*, else attention_decode_group_*). The part that a
// split leaves of each query (o, m, l in fp32) goes to memory, and attention_combine.cu adds the parts in order; a
// sequence of one split is finished at once.
//
// Bytes: keys and values of a split once a tile (2 D kSplitPages 32 numbers of 16 bits), and of each query and split
// 2 (D + 2) 4 written and read, which L2 keeps: of a split of its own 10 % at 6 heads a kv head. Memory is the limit.
#include "attention_splits.cuh"
#include "early_start.cuh"

namespace tinylora::cuda {
namespace {

template <typename Half, int kDim>
__device__ void store_part(const Queries& queries, int first, int split, const Sums<kDim>& sums) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const int dim = queries.task.args.head_dim;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + g + 8 * half;
    if (query >= queries.end()) continue;
    const long long index = part_index(queries.task, split, queries.index(query));
    float* out = queries.task.parts.out + index * dim;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      const int column = 8 * n + 2 * t;
      if (column >= dim) continue;
      *reinterpret_cast<float2*>(out + column) = make_float2(sums.out[n][2 * half], sums.out[n][2 * half + 1]);
    }
    if (t == 0) {
      queries.task.parts.largest[index] = sums.largest[half];
      queries.task.parts.total[index] = sums.total[half];
    }
  }
}

/// Grid: spans (times the parts of more heads a kv head than a tile has queries), kv heads, splits at once.
template <typename Half, int kDim, int kWarps>
__device__ void attention_decode(const AttentionTask& task) {
  extern __shared__ __align__(kRingAlignment) uint4 ring[];  // [stages, keys and values, 32 D / 8]
  await_launch_before();
  Queries queries{task, {}, static_cast<int>(blockIdx.y), true};
  visit_splits<kWarps * kAttentionTile, (kWarps > 1)>(queries, [&](int split, int own) {
    const int first = queries.tile.first + static_cast<int>(threadIdx.x / 32) * kAttentionTile;
    const int begin = split * kSplitPages, end = min(begin + kSplitPages, own / kPageSize + 1);
    WarpState<Half, kDim> state;
    start(queries, first, state);
    __syncthreads();  // the ring may still be read
    visit_pages(queries, first, begin, end, own, ring, state, [](int) {});
    if (is_one_split(own)) {
      finish<Half>(queries, first, state, ring);
    } else {
      store_part<Half>(queries, first, split, state);
    }
  });
}

}  // namespace

// The groups first: benchmarks/cuda/registers.mjs takes the first name that fits. Without the 1, ptxas spills to stay
// at 128 registers.
#define TINYLORA_ATTENTION(T, dim, Half)                                                                   \
  extern "C" __global__ __launch_bounds__(kAttentionThreads,                                               \
                                          1) void attention_decode_group_##T##_##dim(AttentionTask task) { \
    attention_decode<Half, dim, kAttentionWarps>(task);                                                    \
  }                                                                                                        \
  extern "C" __global__ __launch_bounds__(32, 1) void attention_decode_##T##_##dim(AttentionTask task) {   \
    attention_decode<Half, dim, 1>(task);                                                                  \
  }
TINYLORA_ATTENTION(bf16, 32, __nv_bfloat16)
TINYLORA_ATTENTION(bf16, 64, __nv_bfloat16)
TINYLORA_ATTENTION(bf16, 128, __nv_bfloat16)
TINYLORA_ATTENTION(f16, 32, __half)
TINYLORA_ATTENTION(f16, 64, __half)
TINYLORA_ATTENTION(f16, 128, __half)
#undef TINYLORA_ATTENTION

}  // namespace tinylora::cuda
