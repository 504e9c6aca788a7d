// head_draw.cuh for sm_90a: the drawn chunk's logits by TMA and wgmma, as head_stats_sm90.cu makes them. A block has a
// row, which comes with the 63 behind it: one tile of 64 x 128 in a ring of four stages, 128 threads of which the first
// also starts the copies. No warp is apart for that: a tile of one chunk is short.
#include "head_draw.cuh"
#include "head_sm90.h"
#include "wgmma_tiles.cuh"

namespace tinylora::cuda {
namespace {

template <typename Half>
__device__ void head_sample(const HeadSampleSm90Args& args) {
  using T = Tiling<Half, 1, kVocabChunk, 4, false, 1>;
  extern __shared__ __align__(128) unsigned char shared[];
  const Ring<T> ring(shared);
  if (threadIdx.x == 0) {
    for (int i = 0; i < T::kStages; ++i) init_barrier(ring.full + i, 1);
    publish_barriers();
  }
  __syncthreads();
  await_launch_before();
  head_sample(args.task, [&](int row, int token) {
    const int steps = (args.task.product.width + kSm90Depth - 1) / kSm90Depth;
    const auto request = [&](int step) {
      if (threadIdx.x != 0 || step >= steps) return;
      const int stage = step % T::kStages;
      arrive_expecting(ring.full + stage, T::kStageBytes);
      copy_w<T>(ring, stage, args.w, token, step * kSm90Depth);
      copy_tile(ring.x(stage), args.x, step * kSm90Depth, row, ring.full + stage);
    };
    for (int step = 0; step < T::kStages - 1; ++step) request(step);
    float sum[T::kSums] = {};
    for (int step = 0; step < steps; ++step) {
      const int stage = step % T::kStages;
      __syncwarp();
      wait_phase(ring.full + stage, step / T::kStages % 2);
      hold(sum);
      begin_products();
      multiply_stage<T>(sum, ring.x(stage), ring.w(stage));
      commit_products();
      wait_for_products<0>();
      hold(sum);
      __syncthreads();  // all are done with the stage
      request(step + T::kStages - 1);
    }
    auto* logits = static_cast<float*>(ring.behind);
    if (threadIdx.x < 4) {  // they have the first row
#pragma unroll
      for (int n = 0; n < T::kTilesN; ++n) {
        const int at = 8 * n + static_cast<int>(threadIdx.x) * 2;
        logits[at] = sum[4 * n], logits[at + 1] = sum[4 * n + 1];
      }
    }
    __syncthreads();
    return logits;
  });
}

}  // namespace

extern "C" __global__ __launch_bounds__(128,
                                        2) void head_sample_bf16_sm90(const __grid_constant__ HeadSampleSm90Args args) {
  head_sample<__nv_bfloat16>(args);
}
extern "C" __global__ __launch_bounds__(128,
                                        2) void head_sample_f16_sm90(const __grid_constant__ HeadSampleSm90Args args) {
  head_sample<__half>(args);
}

}  // namespace tinylora::cuda
