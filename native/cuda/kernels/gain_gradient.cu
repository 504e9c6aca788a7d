// bias_gradient  d_bias += sum over rows of dy
// gain_gradient  d_gain += sum over rows of dy * x * inv_rms
//
// A block owns 32 columns; warp w of 16 sums rows w, w + 16, ... in double, then the warps are added in their order: an
// order that depends on the number of rows alone. Bytes: those of the arguments, each once; limit: memory (latency
// where the width is small: width / 32 blocks).
#include "act.cuh"
#include "gain_gradient.h"

namespace tinylora::cuda {
namespace {

/// to[column] += sum of value(row, column).
template <class Value>
__device__ void add_column_sums(int rows, int width, float* to, const Value& value) {
  constexpr int kWarps = kColumnSumThreads / 32;
  __shared__ double sums[kWarps][kColumnSumWidth];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int column = static_cast<int>(blockIdx.x) * kColumnSumWidth + lane;
  double sum = 0;
  if (column < width) {
#pragma unroll 4
    for (int row = warp; row < rows; row += kWarps) sum += value(row, column);
  }
  sums[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || column >= width) return;
  double total = static_cast<double>(to[column]);
  for (int i = 0; i < kWarps; ++i) total += sums[i][lane];
  to[column] = static_cast<float>(total);
}

template <typename Act>
__device__ void bias_gradient(const BiasGradientKernelArgs& args) {
  const Act* dy = static_cast<const Act*>(args.dy);
  add_column_sums(args.rows, args.width, args.d_bias, [&](int row, int column) {
    return static_cast<double>(load(dy + static_cast<long long>(row) * args.width + column));
  });
}

}  // namespace

extern "C" __global__ __launch_bounds__(kColumnSumThreads) void bias_gradient_bf16(BiasGradientKernelArgs args) {
  bias_gradient<__nv_bfloat16>(args);
}
extern "C" __global__ __launch_bounds__(kColumnSumThreads) void bias_gradient_f16(BiasGradientKernelArgs args) {
  bias_gradient<__half>(args);
}
extern "C" __global__ __launch_bounds__(kColumnSumThreads) void bias_gradient_f32(BiasGradientKernelArgs args) {
  bias_gradient<float>(args);
}

extern "C" __global__ __launch_bounds__(kColumnSumThreads) void gain_gradient(GainGradientArgs args) {
  add_column_sums(args.rows, args.width, args.d_gain, [&](int row, int column) {
    const long long at = static_cast<long long>(row) * args.width + column;
    return static_cast<double>(args.dy[at]) * static_cast<double>(args.x[at]) * static_cast<double>(args.inv_rms[row]);
  });
}

}  // namespace tinylora::cuda
