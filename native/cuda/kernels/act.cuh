// Loads and stores of "act" values as float. Rounding to bf16 is to nearest, ties to even, as on the host.
#pragma once

#include <cuda_bf16.h>
#include <stdint.h>

__device__ inline float load(const float* p) { return *p; }
__device__ inline float load(const __nv_bfloat16* p) { return __bfloat162float(*p); }
__device__ inline void store(float* p, float value) { *p = value; }
__device__ inline void store(__nv_bfloat16* p, float value) { *p = __float2bfloat16_rn(value); }

/// Two neighbours in one word, `low` at the lower address.
__device__ inline uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

/// The value that a store to such a pointer leaves.
__device__ inline float rounded(float value, const float*) { return value; }
__device__ inline float rounded(float value, const __nv_bfloat16*) {
  return __bfloat162float(__float2bfloat16_rn(value));
}
