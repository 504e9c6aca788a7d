// The rank-r side of a product, around the main loop of product_*.cu:
//   low_rank       z = x A^T, left = z R_k^T (forward);  s = dy B, left = s R_k (backward)
//   rank_gradient  dR_k += sum over rows of adapter k of s^T z, in double, rows ascending
//   pad_rows       rows of bf16 copied to a stride that cp.async can read
//
// low_rank: a block a row and product; four of the r sums at a time over the row, a thread over every 128th k, then
// over lanes and warps: an order that depends on k alone. x is read again for every four sums, from L1. Bytes a row: k
// acts and r k floats of A or B, these from L2. Limit: L2. It is a launch of its own for all products of one x; made
// inside the pass that writes x it would save the read of x.
//
// rank_gradient: one block; 256 threads bring 64 rows of s and z to shared memory, thread (i, j) adds theirs one by one
// (a chain of one double addition a row). Limit: that latency.
#include "act.cuh"
#include "low_rank.h"
#include "reduce.cuh"

using namespace tinylora::cuda;

namespace {

constexpr int kThreads = 128;
constexpr int kTogether = 4;

template <typename Act>
__device__ void low_rank(const LowRankKernelArgs& args) {
  __shared__ float slots[kTogether][kThreads / 32];
  __shared__ float inner[kMaxRank];
  LowRankTask task = args.task[0];
#pragma unroll
  for (int i = 1; i < kMaxTasks; ++i) {
    if (blockIdx.y == i) task = args.task[i];
  }
  const int64_t row = blockIdx.x;
  const Act* x = static_cast<const Act*>(args.x) + row * args.k;

  for (int first = 0; first < task.rank; first += kTogether) {
    float sum[kTogether] = {};
    for (int i = threadIdx.x; i < args.k; i += kThreads) {
      const float value = load(x + i);
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        if (first + j < task.rank) sum[j] = fmaf(value, task.right[int64_t{first + j} * args.k + i], sum[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const float total = block_sum<kThreads>(sum[j], slots[j]);
      if (threadIdx.x == 0 && first + j < task.rank) inner[first + j] = total;
    }
    __syncthreads();
  }

  const int i = threadIdx.x;
  if (i >= task.rank) return;
  task.inner[row * task.rank + i] = inner[i];
  const int adapter = task.adapter[row];
  float left = 0;
  if (adapter >= 0) {
    const float* r = task.r + int64_t{adapter} * task.rank * task.rank;
    for (int j = 0; j < task.rank; ++j) {
      left = fmaf(args.backward ? r[j * task.rank + i] : r[i * task.rank + j], inner[j], left);
    }
  }
  task.left[row * task.rank + i] = left;
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) low_rank_bf16(LowRankKernelArgs args) {
  low_rank<__nv_bfloat16>(args);
}
extern "C" __global__ void __launch_bounds__(kThreads) low_rank_f32(LowRankKernelArgs args) { low_rank<float>(args); }

extern "C" __global__ void __launch_bounds__(256) rank_gradient(RankGradientKernelArgs args) {
  constexpr int kRows = 64;
  __shared__ float s[kRows * kMaxRank], z[kRows * kMaxRank];
  __shared__ int adapter[kRows];
  const int size = args.rank * args.rank, thread = threadIdx.x;
  int current = -1;
  double sum = 0;
  for (int first = 0; first < args.rows; first += kRows) {
    const int rows = min(kRows, args.rows - first);
    for (int i = thread; i < rows * args.rank; i += 256) {
      s[i] = args.s[int64_t{first} * args.rank + i];
      z[i] = args.z[int64_t{first} * args.rank + i];
    }
    for (int i = thread; i < rows; i += 256) adapter[i] = args.adapter[first + i];
    __syncthreads();
    for (int row = 0; thread < size && row < rows; ++row) {
      if (adapter[row] < 0) continue;
      if (adapter[row] != current) {
        if (current >= 0) args.d_r[int64_t{current} * size + thread] = sum;
        current = adapter[row];
        sum = args.d_r[int64_t{current} * size + thread];
      }
      const double left = s[row * args.rank + thread / args.rank], right = z[row * args.rank + thread % args.rank];
      sum += left * right;  // the product of two floats is exact in double
    }
    __syncthreads();
  }
  if (current >= 0) args.d_r[int64_t{current} * size + thread] = sum;
}

extern "C" __global__ void pad_rows(PadRowsKernelArgs args) {
  const auto* x = static_cast<const __nv_bfloat16*>(args.x) + int64_t{blockIdx.x} * args.width;
  auto* y = static_cast<__nv_bfloat16*>(args.y) + int64_t{blockIdx.x} * args.stride;
  for (int i = threadIdx.x; i < args.stride; i += blockDim.x) y[i] = i < args.width ? x[i] : __float2bfloat16_rn(0);
}
