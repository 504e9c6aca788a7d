// A vector (simd.h) on AVX2: eight lanes.
#pragma once

#include "cpu/simd_x86.h"

namespace tinylora::TINYLORA_ISA {

inline constexpr int kLanes = 8;

alignas(32) inline constexpr std::int32_t kMaskBits[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

struct Floats {
  __m256 v;

  TINYLORA_INLINE static Floats zero() { return {_mm256_setzero_ps()}; }
  TINYLORA_INLINE static Floats all(float value) { return {_mm256_set1_ps(value)}; }
  TINYLORA_INLINE static Floats load(const float* p) { return {_mm256_loadu_ps(p)}; }
  TINYLORA_INLINE static Floats load(const float* p, int count) { return {_mm256_maskload_ps(p, mask(count))}; }
  TINYLORA_INLINE static Floats load(const Bf16* p) {
    return widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  TINYLORA_INLINE static Floats load(const Bf16* p, int count) {
    alignas(16) Bf16 part[kLanes] = {};
    for (int i = 0; i < count; ++i) part[i] = p[i];
    return load(part);
  }
  TINYLORA_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  TINYLORA_INLINE void store(float* p, int count) const { _mm256_maskstore_ps(p, mask(count), v); }
  TINYLORA_INLINE void store(Bf16* p) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), rounded()); }
  TINYLORA_INLINE void store(Bf16* p, int count) const {
    alignas(16) Bf16 part[kLanes];
    store(part);
    for (int i = 0; i < count; ++i) p[i] = part[i];
  }

  TINYLORA_INLINE static __m256i mask(int count) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMaskBits + kLanes - count));
  }
  TINYLORA_INLINE static Floats widen(__m128i bits) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
  }
  TINYLORA_INLINE __m128i rounded() const {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i result = _mm256_srli_epi32(_mm256_blendv_epi8(up, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1));
  }
};

TINYLORA_INLINE void streamed() {}  // nothing goes past the caches here

TINYLORA_INLINE Floats operator+(Floats a, Floats b) { return {_mm256_add_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats operator-(Floats a, Floats b) { return {_mm256_sub_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats operator*(Floats a, Floats b) { return {_mm256_mul_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats operator/(Floats a, Floats b) { return {_mm256_div_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats fma(Floats a, Floats b, Floats c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
TINYLORA_INLINE Floats max(Floats a, Floats b) { return {_mm256_max_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats min(Floats a, Floats b) { return {_mm256_min_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats where_less(Floats a, Floats b, Floats yes, Floats no) {
  return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))};
}
TINYLORA_INLINE Floats first(int count, Floats a, Floats other) {
  return {_mm256_blendv_ps(other.v, a.v, _mm256_castsi256_ps(Floats::mask(count)))};
}
TINYLORA_INLINE Floats even_of_pairs(const Bf16* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 16))};
}
TINYLORA_INLINE Floats odd_of_pairs(const Bf16* p) {
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                                               _mm256_set1_epi32(static_cast<int>(0xffff0000U))))};
}
TINYLORA_INLINE Floats even_of_pairs(const Bf16* p, int count) {
  const __m256i pairs = _mm256_maskload_epi32(reinterpret_cast<const int*>(p), Floats::mask(count));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16))};
}
TINYLORA_INLINE Floats odd_of_pairs(const Bf16* p, int count) {
  const __m256i pairs = _mm256_maskload_epi32(reinterpret_cast<const int*>(p), Floats::mask(count));
  return {_mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000U))))};
}
TINYLORA_INLINE Floats times_power_of_two(Floats a, Floats n) {
  // 2^128 is no float: the power is applied in two halves.
  const __m256i whole = _mm256_cvtps_epi32(n.v);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const __m256i one = _mm256_set1_epi32(127);
  const auto power = [&](__m256i k) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k, one), 23)); };
  return {_mm256_mul_ps(_mm256_mul_ps(a.v, power(half)), power(_mm256_sub_epi32(whole, half)))};
}
TINYLORA_INLINE Floats round(Floats a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
TINYLORA_INLINE float sum(Floats a) { return sum_of_eight(a.v); }
TINYLORA_INLINE float largest(Floats a) { return largest_of_eight(a.v); }

}  // namespace tinylora::TINYLORA_ISA
