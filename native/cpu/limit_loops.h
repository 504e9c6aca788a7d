// The loops of limit_kernels.h, written once for all instruction sets.
#pragma once

#include "cpu/limit_kernels.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

/// Enough independent sums to hide the latency of a multiply-add on two units, few enough for the registers.
inline constexpr int kChains = kLanes == 16 ? 24 : 12;

/// step(sum) is one multiply-add on a vector register of `flops` operations.
template <class Step>
TINYLORA_INLINE double multiply_adds(std::int64_t rounds, int flops, const Step& step) {
  Floats sums[kChains];
  TINYLORA_UNROLL
  for (int c = 0; c < kChains; ++c) sums[c] = Floats::all(static_cast<float>(c));
  for (std::int64_t i = 0; i < rounds; ++i) {
    TINYLORA_UNROLL
    for (int c = 0; c < kChains; ++c) sums[c] = step(sums[c]);
  }
  Floats total = Floats::zero();
  TINYLORA_UNROLL
  for (int c = 0; c < kChains; ++c) total = total + sums[c];
  volatile float keep = sum(total);
  static_cast<void>(keep);
  return static_cast<double>(rounds) * kChains * flops;
}

inline double fp32_limit(std::int64_t rounds) {
  const Floats a = Floats::all(0.5F);
  const Floats b = Floats::all(1.0F);
  return multiply_adds(rounds, 2 * kLanes, [&](Floats s) { return fma(s, a, b); });
}

#if defined(TINYLORA_BF16_DOT)
inline double bf16_dot_limit(std::int64_t rounds) {
  const Pairs ones = Pairs::all(0x3f803f81);  // about; two exact ones are a constant that GCC 12 cannot write for Arm
  return multiply_adds(rounds, 4 * kLanes, [&](Floats s) { return dot(ones, ones, s); });
}
#endif

inline float read_limit(const float* p, std::size_t count) {
  Floats sums[8];
  TINYLORA_UNROLL
  for (int c = 0; c < 8; ++c) sums[c] = Floats::zero();
  for (std::size_t i = 0; i < count; i += 8 * kLanes) {
    TINYLORA_UNROLL
    for (int c = 0; c < 8; ++c) sums[c] = max(sums[c], Floats::load(p + i + std::size_t(c) * kLanes));
  }
  Floats total = sums[0];
  for (const Floats& s : sums) total = max(total, s);
  return largest(total);
}

}  // namespace tinylora::TINYLORA_ISA
