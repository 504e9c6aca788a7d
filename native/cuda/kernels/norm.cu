// rms_norm           y = x * inv_rms * gain,  inv_rms = 1 / sqrt(mean(x^2) + epsilon)
// rms_norm_backward  dx += inv_rms * (g - x * inv_rms^2 * mean(g * x)),  g = dy * gain
//
// A block a row. The sum over a row is taken by a thread over its groups of eight neighbours (forward; low_rank.cuh) or
// over every 256th column (backward), then over lanes, then over warps: an order that depends on the width alone. x is
// read twice, the second time from L1 (a row of 4096 floats is 16 KiB). The forward pass makes z of the products that
// read y from the values it holds. Bytes a row: forward 4 width in and 2 or 4 width out, backward 16 width. Limit:
// memory.
#include "low_rank.cuh"
#include "norm.h"

using namespace tinylora::cuda;

namespace {

template <typename Act>
__device__ void rms_norm(const RmsNormKernelArgs& args) {
  __shared__ float slots[kRowThreads / 32];
  const LowRankArgs& low_rank = args.low_rank;
  const int width = low_rank.k;
  const int64_t row = blockIdx.x;
  const float* x = args.x + row * width;
  Act* y = static_cast<Act*>(args.y) + row * width;

  float squares = 0;
  for (int i = static_cast<int>(threadIdx.x) * kGroup; i < width; i += kRowThreads * kGroup) {
    float values[kGroup];
    load_group(low_rank, x, i, values);
#pragma unroll
    for (int e = 0; e < kGroup; ++e) squares = fmaf(values[e], values[e], squares);
  }
  const float mean = block_sum<kRowThreads>(squares, slots) / static_cast<float>(width);
  const float inv = 1 / sqrtf(mean + args.epsilon);
  if (threadIdx.x == 0) args.inv_rms[row] = inv;
  low_rank_row(low_rank, row, [&](int i, bool first, float(&values)[kGroup]) {
    if (!first) return load_group(low_rank, y, i, values);
    float gain[kGroup];
    load_group(low_rank, x, i, values);
    load_group(low_rank, args.gain, i, gain);
#pragma unroll
    for (int e = 0; e < kGroup; ++e) values[e] = values[e] * inv * gain[e];
    store_group(low_rank, y, i, values);
  });
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kRowThreads) rms_norm_bf16(RmsNormKernelArgs args) {
  rms_norm<__nv_bfloat16>(args);
}
extern "C" __global__ void __launch_bounds__(kRowThreads) rms_norm_f16(RmsNormKernelArgs args) {
  rms_norm<__half>(args);
}
extern "C" __global__ void __launch_bounds__(kRowThreads) rms_norm_f32(RmsNormKernelArgs args) {
  rms_norm<float>(args);
}

extern "C" __global__ void __launch_bounds__(kRowThreads) rms_norm_backward(RmsNormBackwardKernelArgs args) {
  __shared__ float slots[kRowThreads / 32];
  const int64_t row = int64_t{blockIdx.x} * args.width;
  const float* x = args.x + row;
  const float* dy = args.dy + row;
  float* dx = args.dx + row;

  float products = 0;
  for (int i = threadIdx.x; i < args.width; i += kRowThreads) products = fmaf(dy[i] * args.gain[i], x[i], products);
  const float mean = block_sum<kRowThreads>(products, slots) / static_cast<float>(args.width);
  const float inv = args.inv_rms[blockIdx.x];
  const float along = inv * inv * mean;
  for (int i = threadIdx.x; i < args.width; i += kRowThreads) {
    dx[i] = fmaf(inv, dy[i] * args.gain[i] - x[i] * along, dx[i]);
  }
}
