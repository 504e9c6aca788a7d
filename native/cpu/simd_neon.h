// A vector (simd.h) on NEON: eight lanes in two registers, with AVX2's operations and order of sums, so that both
// compute the same bits.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

namespace tinylora::TINYLORA_ISA {

TINYLORA_INLINE float square_root(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }

inline constexpr int kLanes = 8;

alignas(32) inline constexpr std::uint32_t kMaskBits[16] = {~0U, ~0U, ~0U, ~0U, ~0U, ~0U, ~0U, ~0U};

struct Floats {
  float32x4_t low;
  float32x4_t high;

  TINYLORA_INLINE static Floats zero() { return all(0.0F); }
  TINYLORA_INLINE static Floats all(float value) { return {vdupq_n_f32(value), vdupq_n_f32(value)}; }
  TINYLORA_INLINE static Floats load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  TINYLORA_INLINE static Floats load(const float* p, int count) {
    float part[kLanes] = {};
    for (int i = 0; i < count; ++i) part[i] = p[i];
    return load(part);
  }
  TINYLORA_INLINE static Floats load(const Bf16* p) {
    const uint16x8_t bits = vld1q_u16(reinterpret_cast<const std::uint16_t*>(p));
    return from_bits(vshll_n_u16(vget_low_u16(bits), 16), vshll_n_u16(vget_high_u16(bits), 16));
  }
  TINYLORA_INLINE static Floats load(const Bf16* p, int count) {
    Bf16 part[kLanes] = {};
    for (int i = 0; i < count; ++i) part[i] = p[i];
    return load(part);
  }
  TINYLORA_INLINE void store(float* p) const {
    vst1q_f32(p, low);
    vst1q_f32(p + 4, high);
  }
  TINYLORA_INLINE void store(float* p, int count) const {
    float part[kLanes];
    store(part);
    for (int i = 0; i < count; ++i) p[i] = part[i];
  }
  TINYLORA_INLINE void store(Bf16* p) const {
    vst1q_u16(reinterpret_cast<std::uint16_t*>(p), vcombine_u16(rounded(low), rounded(high)));
  }
  TINYLORA_INLINE void store(Bf16* p, int count) const {
    Bf16 part[kLanes];
    store(part);
    for (int i = 0; i < count; ++i) p[i] = part[i];
  }

  TINYLORA_INLINE static Floats from_bits(uint32x4_t low, uint32x4_t high) {
    return {vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)};
  }
  TINYLORA_INLINE static uint16x4_t rounded(float32x4_t v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t up = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), up, quiet), 16);
  }
};

TINYLORA_INLINE void streamed() {}  // nothing goes past the caches here

TINYLORA_INLINE Floats operator+(Floats a, Floats b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
TINYLORA_INLINE Floats operator-(Floats a, Floats b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
TINYLORA_INLINE Floats operator*(Floats a, Floats b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
TINYLORA_INLINE Floats operator/(Floats a, Floats b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
TINYLORA_INLINE Floats fma(Floats a, Floats b, Floats c) {
  return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
struct Pairs {
  uint32x4_t low;
  uint32x4_t high;

  TINYLORA_INLINE static Pairs all(std::int32_t pair) {
    const uint32x4_t four = vreinterpretq_u32_s32(vdupq_n_s32(pair));
    return {four, four};
  }
  TINYLORA_INLINE static Pairs load(const Bf16* p) {
    const auto* bits = reinterpret_cast<const std::uint16_t*>(p);
    return {vreinterpretq_u32_u16(vld1q_u16(bits)), vreinterpretq_u32_u16(vld1q_u16(bits + 8))};
  }
  TINYLORA_INLINE static Pairs load(const Bf16* p, int count) {
    Bf16 part[2 * kLanes] = {};
    for (int i = 0; i < 2 * count; ++i) part[i] = p[i];
    return load(part);
  }
  TINYLORA_INLINE Pairs first_of_each() const {
    return {vandq_u32(low, vdupq_n_u32(0xffff)), vandq_u32(high, vdupq_n_u32(0xffff))};
  }
};
TINYLORA_INLINE float32x4_t dot(uint32x4_t a, uint32x4_t b, float32x4_t c) {
  return vbfdotq_f32(c, vreinterpretq_bf16_u32(a), vreinterpretq_bf16_u32(b));
}
TINYLORA_INLINE Floats dot(Pairs a, Pairs b, Floats c) {
  return {dot(a.low, b.low, c.low), dot(a.high, b.high, c.high)};
}
#endif

/// As on x86, the second where one is NaN or both are zeros; NEON's own give NaN and the zero of the fitting sign.
TINYLORA_INLINE float32x4_t larger_of_four(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
TINYLORA_INLINE float32x4_t smaller_of_four(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
TINYLORA_INLINE Floats max(Floats a, Floats b) {
  return {larger_of_four(a.low, b.low), larger_of_four(a.high, b.high)};
}
TINYLORA_INLINE Floats min(Floats a, Floats b) {
  return {smaller_of_four(a.low, b.low), smaller_of_four(a.high, b.high)};
}
TINYLORA_INLINE Floats where_less(Floats a, Floats b, Floats yes, Floats no) {
  return {vbslq_f32(vcltq_f32(a.low, b.low), yes.low, no.low), vbslq_f32(vcltq_f32(a.high, b.high), yes.high, no.high)};
}
TINYLORA_INLINE Floats first(int count, Floats a, Floats other) {
  const std::uint32_t* mask = kMaskBits + kLanes - count;
  return {vbslq_f32(vld1q_u32(mask), a.low, other.low), vbslq_f32(vld1q_u32(mask + 4), a.high, other.high)};
}
TINYLORA_INLINE Floats even_of_pairs(const Bf16* p) {
  const auto* pairs = reinterpret_cast<const std::uint32_t*>(p);
  return Floats::from_bits(vshlq_n_u32(vld1q_u32(pairs), 16), vshlq_n_u32(vld1q_u32(pairs + 4), 16));
}
TINYLORA_INLINE Floats odd_of_pairs(const Bf16* p) {
  const auto* pairs = reinterpret_cast<const std::uint32_t*>(p);
  const uint32x4_t upper = vdupq_n_u32(0xffff0000U);
  return Floats::from_bits(vandq_u32(vld1q_u32(pairs), upper), vandq_u32(vld1q_u32(pairs + 4), upper));
}
TINYLORA_INLINE Floats even_of_pairs(const Bf16* p, int count) {
  Bf16 part[2 * kLanes] = {};
  for (int i = 0; i < count; ++i) part[2 * i] = p[2 * i];
  return even_of_pairs(part);
}
TINYLORA_INLINE Floats odd_of_pairs(const Bf16* p, int count) {
  Bf16 part[2 * kLanes] = {};
  for (int i = 0; i < count; ++i) part[2 * i + 1] = p[2 * i + 1];
  return odd_of_pairs(part);
}
TINYLORA_INLINE float32x4_t times_power_of_two(float32x4_t a, float32x4_t n) {
  // 2^128 is no float: the power is applied in two halves.
  const int32x4_t whole = vcvtq_s32_f32(n);
  const int32x4_t half = vshrq_n_s32(whole, 1);
  const auto power = [](int32x4_t k) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(k, vdupq_n_s32(127)), 23)); };
  return vmulq_f32(vmulq_f32(a, power(half)), power(vsubq_s32(whole, half)));
}
TINYLORA_INLINE Floats times_power_of_two(Floats a, Floats n) {
  return {times_power_of_two(a.low, n.low), times_power_of_two(a.high, n.high)};
}
TINYLORA_INLINE Floats round(Floats a) { return {vrndnq_f32(a.low), vrndnq_f32(a.high)}; }
TINYLORA_INLINE float sum(Floats a) {
  const float32x4_t four = vaddq_f32(a.low, a.high);
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
TINYLORA_INLINE float largest(Floats a) {
  const float32x4_t four = larger_of_four(a.low, a.high);
  const float32x2_t low = vget_low_f32(four);
  const float32x2_t high = vget_high_f32(four);
  const float32x2_t two = vbsl_f32(vcgt_f32(low, high), low, high);
  const float first = vget_lane_f32(two, 0);
  const float second = vget_lane_f32(two, 1);
  return first > second ? first : second;
}

}  // namespace tinylora::TINYLORA_ISA
