// Sums over a warp and over a block, in an order fixed by the size of the block alone.
#pragma once

/// The sum of `value` over the warp, the same bits in every lane.
__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffU, value, step);
  return value;
}

/// The sum over a block of kThreads (whole warps), the same bits in every thread. Every thread must call it. `slots` is
/// shared memory of one float a warp; it may be used again after the next barrier.
template <int kThreads>
__device__ inline float block_sum(float value, float* slots) {
  static_assert(kThreads % 32 == 0);
  const float sum = warp_sum(value);
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = sum;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / 32; ++warp) total += slots[warp];
  return total;
}
