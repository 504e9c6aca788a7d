// Loads and stores of "act" values as float. Rounding to bf16 and fp16 is to nearest, ties to even, as on the host.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include <type_traits>

/// A float in a 16-bit type, __nv_bfloat16 or __half.
template <typename Half>
__device__ inline Half to_half(float value) {
  if constexpr (std::is_same_v<Half, __half>) {
    return __float2half_rn(value);
  } else {
    return __float2bfloat16_rn(value);
  }
}

/// A float as `store` leaves it in Act.
template <typename Act>
__device__ inline float rounded(float value) {
  if constexpr (std::is_same_v<Act, float>) {
    return value;
  } else {
    return static_cast<float>(to_half<Act>(value));
  }
}

__device__ inline float load(const float* p) { return *p; }
__device__ inline float load(const __nv_bfloat16* p) { return __bfloat162float(*p); }
__device__ inline float load(const __half* p) { return __half2float(*p); }
__device__ inline void store(float* p, float value) { *p = value; }
template <typename Half>
__device__ inline void store(Half* p, float value) {
  *p = to_half<Half>(value);
}

/// Two neighbours in one word, `low` at the lower address.
template <typename Half>
__device__ inline uint32_t pack(float low, float high) {
  if constexpr (std::is_same_v<Half, __half>) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}

/// The two neighbours in such a word.
template <typename Half>
__device__ inline float2 pair_of(uint32_t word) {
  if constexpr (std::is_same_v<Half, __half>) {
    return __half22float2(*reinterpret_cast<const __half2*>(&word));
  } else {
    float2 pair;  // written so that no moves between integers and floats are left in PTX
    asm("shl.b32 %0, %1, 16;" : "=f"(pair.x) : "r"(word));
    asm("and.b32 %0, %1, 0xffff0000;" : "=f"(pair.y) : "r"(word));
    return pair;
  }
}
