// The gradients of A and B: d += left^T x with left = s R_k and x (dA), left = z R_k^T and x = dy (dB transposed).
//
// turn                 left = z R_k^T, one thread a number
// lora_gradient_*      a block sums a run of 256 rows over 256 columns, a thread two neighbours: left of the run is in
//                      shared memory and is read as broadcasts, x streams by once; kRanks (8 or 16) x 2 sums a thread
// lora_gradient_sum    the runs of each element in order, on top of d
//
// Runs have a fixed size, so the order depends on the number of rows alone. Bytes: x once, 2 rank / 128 of that again
// for the runs; 2 rank flops an element of x in float (left keeps its 24 bits, so no tensor cores): fp32 units and
// memory are about equally busy at rank 16 on sm_80.
#include "act.cuh"
#include "lora_gradient.h"

using namespace tinylora::cuda;

namespace {

__device__ float2 load_pair(const float* p) { return *reinterpret_cast<const float2*>(p); }
__device__ float2 load_pair(const __nv_bfloat16* p) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(p));
}
__device__ float2 load_pair(const __half* p) { return __half22float2(*reinterpret_cast<const __half2*>(p)); }

template <typename Act, int kRanks>
__device__ void sum_run(const LoraGradientKernelArgs& args) {
  __shared__ __align__(16) float left[kLoraRun][kRanks];
  const int first = static_cast<int>(blockIdx.x) * kLoraRun;
  const int rows = min(kLoraRun, args.rows - first);
  for (int i = static_cast<int>(threadIdx.x); i < rows * kRanks; i += kLoraThreads) {
    const int row = i / kRanks, j = i % kRanks;
    left[row][j] = j < args.rank ? args.left[int64_t{first + row} * args.rank + j] : 0;
  }
  __syncthreads();

  const int column = static_cast<int>(blockIdx.y) * kLoraColumns + 2 * static_cast<int>(threadIdx.x);
  if (column >= args.width) return;
  const Act* x = static_cast<const Act*>(args.x) + int64_t{first} * args.width + column;
  const bool second = column + 1 < args.width;
  float sum[kRanks][2] = {};
#pragma unroll 4
  for (int row = 0; row < rows; ++row, x += args.width) {
    const float2 value = args.pairs ? load_pair(x) : make_float2(load(x), second ? load(x + 1) : 0);
#pragma unroll
    for (int j = 0; j < kRanks; j += 4) {
      const float4 l = *reinterpret_cast<const float4*>(&left[row][j]);
      sum[j][0] = fmaf(l.x, value.x, sum[j][0]), sum[j][1] = fmaf(l.x, value.y, sum[j][1]);
      sum[j + 1][0] = fmaf(l.y, value.x, sum[j + 1][0]), sum[j + 1][1] = fmaf(l.y, value.y, sum[j + 1][1]);
      sum[j + 2][0] = fmaf(l.z, value.x, sum[j + 2][0]), sum[j + 2][1] = fmaf(l.z, value.y, sum[j + 2][1]);
      sum[j + 3][0] = fmaf(l.w, value.x, sum[j + 3][0]), sum[j + 3][1] = fmaf(l.w, value.y, sum[j + 3][1]);
    }
  }
#pragma unroll
  for (int j = 0; j < kRanks; ++j) {
    if (j >= args.rank) break;
    float* to = args.runs + (int64_t{blockIdx.x} * args.rank + j) * args.width + column;
    to[0] = sum[j][0];
    if (second) to[1] = sum[j][1];
  }
}

}  // namespace

#define TINYLORA_LORA_GRADIENT(name, act)                                                                           \
  extern "C" __global__ void __launch_bounds__(kLoraThreads) lora_gradient_8_##name(LoraGradientKernelArgs args) {  \
    sum_run<act, 8>(args);                                                                                          \
  }                                                                                                                 \
  extern "C" __global__ void __launch_bounds__(kLoraThreads) lora_gradient_16_##name(LoraGradientKernelArgs args) { \
    sum_run<act, 16>(args);                                                                                         \
  }
TINYLORA_LORA_GRADIENT(bf16, __nv_bfloat16)
TINYLORA_LORA_GRADIENT(f16, __half)
TINYLORA_LORA_GRADIENT(f32, float)
#undef TINYLORA_LORA_GRADIENT

extern "C" __global__ void __launch_bounds__(256) lora_gradient_sum(LoraGradientKernelArgs args) {
  const int64_t count = int64_t{args.rank} * args.width;
  const int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (i >= count) return;
  float total = args.d[i];
  for (int run = 0; run * kLoraRun < args.rows; ++run) total += args.runs[run * count + i];
  args.d[i] = total;
}

extern "C" __global__ void __launch_bounds__(256) turn(TurnKernelArgs args) {
  const int64_t index = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (index >= int64_t{args.rows} * args.rank) return;
  const int64_t row = index / args.rank;
  const int i = static_cast<int>(index % args.rank), adapter = args.adapter[row];
  float left = 0;
  if (adapter >= 0) {
    const float* r = args.r + (int64_t{adapter} * args.rank + i) * args.rank;
    for (int j = 0; j < args.rank; ++j) left = fmaf(r[j], args.inner[row * args.rank + j], left);
  }
  args.left[index] = left;
}
