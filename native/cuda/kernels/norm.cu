// rms_norm           y = x * inv_rms * gain,  inv_rms = 1 / sqrt(mean(x^2) + epsilon)
// rms_norm_backward  dx += inv_rms * (g - x * inv_rms^2 * mean(g * x)),  g = dy * gain
//
// A block of 256 threads a row; the sum over a row is taken by a thread over every 256th column, then over lanes, then
// over warps: an order that depends on the width alone. x is read twice, the second time from L1 (a row of 4096 floats
// is 16 KiB). Bytes a row: forward 4 width in and 2 or 4 width out, backward 16 width. Limit: memory.
#include "act.cuh"
#include "norm.h"
#include "reduce.cuh"

using namespace tinylora::cuda;

namespace {

template <typename Act>
__device__ void rms_norm(const RmsNormKernelArgs& args) {
  __shared__ float slots[kNormThreads / 32];
  const int64_t row = int64_t{blockIdx.x} * args.width;
  const float* x = args.x + row;
  Act* y = static_cast<Act*>(args.y) + row;

  float squares = 0;
  for (int i = threadIdx.x; i < args.width; i += kNormThreads) squares = fmaf(x[i], x[i], squares);
  const float mean = block_sum<kNormThreads>(squares, slots) / static_cast<float>(args.width);
  const float inv = 1 / sqrtf(mean + args.epsilon);
  if (threadIdx.x == 0) args.inv_rms[blockIdx.x] = inv;
  for (int i = threadIdx.x; i < args.width; i += kNormThreads) store(y + i, x[i] * inv * args.gain[i]);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kNormThreads) rms_norm_bf16(RmsNormKernelArgs args) {
  rms_norm<__nv_bfloat16>(args);
}
extern "C" __global__ void __launch_bounds__(kNormThreads) rms_norm_f32(RmsNormKernelArgs args) {
  rms_norm<float>(args);
}

extern "C" __global__ void __launch_bounds__(kNormThreads) rms_norm_backward(RmsNormBackwardKernelArgs args) {
  __shared__ float slots[kNormThreads / 32];
  const int64_t row = int64_t{blockIdx.x} * args.width;
  const float* x = args.x + row;
  const float* dy = args.dy + row;
  float* dx = args.dx + row;

  float products = 0;
  for (int i = threadIdx.x; i < args.width; i += kNormThreads) products = fmaf(dy[i] * args.gain[i], x[i], products);
  const float mean = block_sum<kNormThreads>(products, slots) / static_cast<float>(args.width);
  const float inv = args.inv_rms[blockIdx.x];
  const float along = inv * inv * mean;
  for (int i = threadIdx.x; i < args.width; i += kNormThreads) {
    dx[i] = fmaf(inv, dy[i] * args.gain[i] - x[i] * along, dx[i]);
  }
}
