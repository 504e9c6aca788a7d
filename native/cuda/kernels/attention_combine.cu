// The second launch of decoding: out, lse and z of sequences of more than one split, from the parts (o, m and l of each
// split, in float) that attention_decode.cu or attention_simt.cu left. The splits are added in order, as
// attention_tile.cuh has it, so the bits are those of a span of many rows.
//
// A warp a query: lane l has columns l, l + 32, ... of o. Bytes: 4 (D + 2) a split and query in, from L2 where they
// were just written, and D acts out. Limit: the latency of one round of loads a split, which many queries at once hide.
#include "attention_splits.cuh"
#include "early_start.cuh"

namespace tinylora::cuda {
namespace {

/// Grid: the queries of all rows and heads, kCombineWarps a block.
template <typename T>
__device__ void attention_combine(const AttentionTask& task) {
  constexpr int kColumns = 256 / 32;  // that a lane owns
  await_launch_before();
  const int lane = static_cast<int>(threadIdx.x % 32), dim = task.args.head_dim;
  const long long query = static_cast<long long>(blockIdx.x) * kCombineWarps + threadIdx.x / 32;
  if (query >= static_cast<long long>(task.layout.rows) * task.args.heads) return;
  const int position = task.layout.position[query / task.args.heads];
  if (is_one_split(position)) return;

  const long long first = part_index(task, 0, query);
  float largest = task.parts.largest[first], total = task.parts.total[first];
  float out[kColumns];
#pragma unroll
  for (int j = 0; j < kColumns; ++j) {
    const int d = lane + 32 * j;
    out[j] = d < dim ? task.parts.out[first * dim + d] : 0;
  }
  for (int split = 1; split * kSplitPages * kPageSize <= position; ++split) {
    const long long index = part_index(task, split, query);
    const SplitWeights weights(largest, task.parts.largest[index]);
    largest = weights.largest;
    total = weights.add(total, task.parts.total[index]);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int d = lane + 32 * j;
      if (d < dim) out[j] = weights.add(out[j], task.parts.out[index * dim + d]);
    }
  }
  const float inverse = 1.0F / total;
#pragma unroll
  for (int j = 0; j < kColumns; ++j) {
    const int d = lane + 32 * j;
    if (d < dim) store(static_cast<T*>(task.args.out) + query * dim + d, out[j] * inverse);
  }
  if (lane == 0 && task.args.lse != nullptr) task.args.lse[query] = fmaf(largest, kLn2, logf(total));
  if (task.update.rank == 0) return;
  add_part<T>(task, query);
  arrive(task, lane == 0 ? query : -1);
}

}  // namespace

// Without the 1, ptxas spills to stay at 32 registers.
#define TINYLORA_ATTENTION(T, Type)                                                                               \
  extern "C" __global__ __launch_bounds__(kCombineWarps * 32, 1) void attention_combine_##T(AttentionTask task) { \
    attention_combine<Type>(task);                                                                                \
  }
TINYLORA_ATTENTION(f32, float)
TINYLORA_ATTENTION(bf16, __nv_bfloat16)
TINYLORA_ATTENTION(f16, __half)
#undef TINYLORA_ATTENTION

}  // namespace tinylora::cuda
