// Reductions of one warp. Every lane gets the result, and the same bits: the two sides of each step of a butterfly add
// the same pair.
#pragma once

#include <cstdint>

namespace tinylora::cuda {

inline constexpr unsigned kWholeWarp = 0xffffffffU;

template <typename T>
__device__ inline T warp_sum(T value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kWholeWarp, value, step);
  return value;
}

__device__ inline float warp_max(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, step));
  return value;
}

/// The same of four neighbouring lanes, which hold one row of a C fragment.
__device__ inline float quad_sum(float value) {
  value += __shfl_xor_sync(kWholeWarp, value, 2);
  return value + __shfl_xor_sync(kWholeWarp, value, 1);
}
__device__ inline float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, 2));
  return fmaxf(value, __shfl_xor_sync(kWholeWarp, value, 1));
}

}  // namespace tinylora::cuda
