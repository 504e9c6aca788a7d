// Powers of 2 in place of those of e: e^x = 2^(x log2 e).
#pragma once

namespace tinylora::cuda {

inline constexpr float kMinusInfinity = -__builtin_huge_valf();

inline constexpr float kLog2E = 1.44269504F, kLn2 = 0.693147181F;

/// 2^x to 2 units in the last place; 0 where that is less than 2^-126.
__device__ inline float power_of_two(float x) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
}

}  // namespace tinylora::cuda
