// dW += dy^T x of the fp32 engine, on the ordinary units: a block of 256 threads makes a tile of 64 x 64, 16 rows at a
// time through shared memory, a thread 4 outputs (16 apart) x 4 neighbouring inputs. One chain of fmaf an element, rows
// ascending from zero, added to dW at the end. Limit: fp32 units; for comparing and small models, as product_f32.cu.
#include "weight_gradient.h"

using namespace tinylora::cuda;

namespace {

constexpr int kTile = 64;
constexpr int kDepth = 16;  // rows
constexpr int kThreads = 256;

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) weight_gradient_f32(WeightGradientKernelArgs args) {
  __shared__ float dy_tile[kDepth][kTile];
  __shared__ __align__(16) float x_tile[kDepth][kTile];
  const int first_out = static_cast<int>(blockIdx.x) * kTile, first_in = static_cast<int>(blockIdx.y) * kTile;
  const int out = static_cast<int>(threadIdx.x) / 16, in = static_cast<int>(threadIdx.x) % 16 * 4;

  float sum[4][4] = {};
  for (int row = 0; row < args.rows; row += kDepth) {
    const auto fill = [&](const void* from, int first, int width, int stride, float(&tile)[kDepth][kTile]) {
#pragma unroll
      for (int i = static_cast<int>(threadIdx.x); i < kDepth * kTile; i += kThreads) {
        const int line = i / kTile, column = first + i % kTile;
        const bool valid = row + line < args.rows && column < width;
        tile[line][i % kTile] = valid ? static_cast<const float*>(from)[int64_t{row + line} * stride + column] : 0;
      }
    };
    fill(args.dy, first_out, args.out, args.dy_stride, dy_tile);
    fill(args.x, first_in, args.in, args.x_stride, x_tile);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      const float4 x = *reinterpret_cast<const float4*>(&x_tile[k][in]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float dy = dy_tile[k][out + 16 * i];
        sum[i][0] = fmaf(dy, x.x, sum[i][0]), sum[i][1] = fmaf(dy, x.y, sum[i][1]);
        sum[i][2] = fmaf(dy, x.z, sum[i][2]), sum[i][3] = fmaf(dy, x.w, sum[i][3]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int o = first_out + out + 16 * i;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int c = first_in + in + j;
      if (o < args.out && c < args.in) args.d_weight[int64_t{o} * args.in + c] += sum[i][j];
    }
  }
}
