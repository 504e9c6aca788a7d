// What a device can do at most, for `bench`: loops that touch only registers, and one that only reads memory.
//
//   limit_mma_bf16  kLimitMmas independent mma.sync.m16n8k16 a warp and round; 32 warps a multiprocessor hide latency
//   limit_fma_f32   kLimitFmas fmaf a thread and round, in 16 chains
//   limit_read      all of `bytes`, far more than L2 holds, once a round, four times 16 bytes a thread at once
//
// Every result could be written, under a condition that never holds, so that no loop is left out. The limit of wgmma is
// higher than that of mma.sync on sm_90.
#include "limits.h"
#include "mma.cuh"

using namespace tinylora::cuda;

extern "C" __global__ void __launch_bounds__(kLimitThreads) limit_mma_bf16(float* out, int rounds) {
  float c[kLimitMmas][4] = {};
  const std::uint32_t a[4] = {};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kLimitMmas; ++i) multiply_add(c[i], a, 0, 0);
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kLimitMmas; ++i) sum += c[i][0] + c[i][1] + c[i][2] + c[i][3];
  if (sum != 0) out[threadIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(kLimitThreads) limit_fma_f32(float* out, int rounds) {
  constexpr int kChains = 16;
  float c[kChains];
#pragma unroll
  for (int i = 0; i < kChains; ++i) c[i] = static_cast<float>(threadIdx.x + i);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kLimitFmas; ++i) c[i % kChains] = fmaf(c[i % kChains], 0.5f, 1.0f);
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kChains; ++i) sum += c[i];
  if (sum < 0) out[threadIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(kLimitThreads) limit_read(float* memory, int rounds, std::size_t bytes) {
  constexpr int kAtOnce = 4;  // 64 KiB a multiprocessor: with a quarter of it latency would be the limit, not memory
  const auto* from = reinterpret_cast<const float4*>(memory);
  const std::size_t step = std::size_t{gridDim.x} * blockDim.x, count = bytes / 16;
  float sum = 0;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += kAtOnce * step) {
      float4 v[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) v[j] = __ldcg(from + min(i + j * step, count - 1));
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) sum += v[j].x + v[j].y + v[j].z + v[j].w;
    }
  }
  if (sum < 0) memory[threadIdx.x] = sum;
}
