// out = softmax(q k^T / sqrt(D)) v over positions 0 .. position[m] of the row's own sequence, page by page from
// position 0 with a running maximum m and total l, and lse = m + log l: for float engines, and heads that no 16-byte
// copy fits (D % 8 != 0, D > 128).
//
// A warp owns one query: lane = key for s (k ascending, fmaf), lane = element of D for p v (keys ascending). A query
// reads its pages for itself, whether it came by prefill or by decode.
#include "act.cuh"
#include "attention_tile.cuh"

namespace tinylora::cuda {
namespace {

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

#define TINYLORA_ATTENTION(T, Type)                                                                               \
  extern "C" __global__ __launch_bounds__(kSimtAttentionWarps * 32) void attention_simt_##T(AttentionTask task) { \
    attention_simt<Type>(task);                                                                                   \
  }
TINYLORA_ATTENTION(f32, float)
TINYLORA_ATTENTION(bf16, __nv_bfloat16)
TINYLORA_ATTENTION(f16, __half)
#undef TINYLORA_ATTENTION

}  // namespace tinylora::cuda
