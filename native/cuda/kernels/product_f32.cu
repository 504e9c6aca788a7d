// Products of the fp32 engine: what product_half.cu computes, on the ordinary units.
//
// A block of 256 threads makes a tile of kRows x 64 outputs, 16 k at a time through shared memory; a thread owns
// kRows / 16 rows (16 apart) x 4 neighbouring columns. Contract: every output is one chain of fmaf, k ascending,
// whatever the tile; zeros past the end add nothing. Limit: fp32 units (about 8 fmaf a load of 16 bytes from shared
// memory); the fp32 engine is for comparing and for small models, so no asynchronous copies here. Any shape: loads are
// single floats, checked.
#include "product_tail.cuh"

using namespace tinylora::cuda;

namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 64;
constexpr int kDepth = 16;

template <int kRows, bool kTransposed>
__device__ void product(const ProductKernelArgs& args) {
  constexpr int kOwned = kRows / 16;
  __shared__ float x_tile[kDepth][kRows + 1];
  __shared__ __align__(16) float w_tile[kDepth][kColumns + 4];
  int tile = static_cast<int>(blockIdx.y);
  const ProductTask task = find_task(args, tile);
  const auto* x = static_cast<const float*>(args.x);
  const auto* w = static_cast<const float*>(task.w);
  const int row0 = static_cast<int>(blockIdx.x) * kRows, column0 = tile * kColumns;
  const int row = threadIdx.x / 16, column = threadIdx.x % 16 * 4;

  float sum[kOwned][4] = {};
  for (int depth = 0; depth < args.k; depth += kDepth) {
#pragma unroll
    for (int i = threadIdx.x; i < kRows * kDepth; i += kThreads) {
      const int m = row0 + i / kDepth, k = depth + i % kDepth;
      x_tile[i % kDepth][i / kDepth] = m < args.rows && k < args.k ? x[int64_t{m} * args.x_stride + k] : 0;
    }
#pragma unroll
    for (int i = threadIdx.x; i < kColumns * kDepth; i += kThreads) {
      const int n = kTransposed ? i % kColumns : i / kDepth, k = kTransposed ? i / kColumns : i % kDepth;
      const bool valid = column0 + n < task.n && depth + k < args.k;
      const int64_t index = kTransposed ? int64_t{depth + k} * task.w_stride + column0 + n
                                        : int64_t{column0 + n} * task.w_stride + depth + k;
      w_tile[k][n] = valid ? w[index] : 0;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      const float4 b = *reinterpret_cast<const float4*>(&w_tile[k][column]);
#pragma unroll
      for (int i = 0; i < kOwned; ++i) {
        const float a = x_tile[k][row + 16 * i];
        sum[i][0] = fmaf(a, b.x, sum[i][0]), sum[i][1] = fmaf(a, b.y, sum[i][1]);
        sum[i][2] = fmaf(a, b.z, sum[i][2]), sum[i][3] = fmaf(a, b.w, sum[i][3]);
      }
    }
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < kOwned; ++i) {
    const int m = row0 + row + 16 * i;
    if (m >= args.rows) break;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int n = column0 + column + j;
      if (n >= task.n) break;
      float value = sum[i][j];
      for (int r = 0; r < task.rank; ++r) {
        value = fmaf(task.left[int64_t{m} * task.rank + r], task.right[int64_t{r} * task.n + n], value);
      }
      finish<float>(task, m, n, value);
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256) product_small_f32(ProductKernelArgs args) {
  product<16, false>(args);
}
extern "C" __global__ void __launch_bounds__(256) product_mid_f32(ProductKernelArgs args) { product<64, false>(args); }
extern "C" __global__ void __launch_bounds__(256) product_mid_backward_f32(ProductKernelArgs args) {
  product<64, true>(args);
}
