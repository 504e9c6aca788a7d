// A vector (simd.h) on AVX-512.
#pragma once

#include "cpu/simd_x86.h"

namespace tinylora::TINYLORA_ISA {

inline constexpr int kLanes = 16;

struct Floats {
  __m512 v;

  TINYLORA_INLINE static Floats zero() { return {_mm512_setzero_ps()}; }
  TINYLORA_INLINE static Floats all(float value) { return {_mm512_set1_ps(value)}; }
  TINYLORA_INLINE static Floats load(const float* p) { return {_mm512_loadu_ps(p)}; }
  TINYLORA_INLINE static Floats load(const float* p, int count) { return {_mm512_maskz_loadu_ps(mask(count), p)}; }
  TINYLORA_INLINE static Floats load(const Bf16* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  TINYLORA_INLINE static Floats load(const Bf16* p, int count) {
    return widen(_mm256_maskz_loadu_epi16(mask(count), p));
  }
  TINYLORA_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  TINYLORA_INLINE void store(float* p, int count) const { _mm512_mask_storeu_ps(p, mask(count), v); }
  TINYLORA_INLINE void store(Bf16* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded()); }
  TINYLORA_INLINE void store(Bf16* p, int count) const { _mm256_mask_storeu_epi16(p, mask(count), rounded()); }

  TINYLORA_INLINE static __mmask16 mask(int count) { return static_cast<__mmask16>((1U << count) - 1U); }
  TINYLORA_INLINE static Floats widen(__m256i bits) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  }
  TINYLORA_INLINE __m256i rounded() const {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i result = _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(result, 16));
  }
};

/// A line of bf16, past the caches; p is aligned to it. Other threads may read it after a call of streamed().
TINYLORA_INLINE void stream(Floats a, Floats b, Bf16* p) {
  const __m512i low = _mm512_castsi256_si512(a.rounded());
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), _mm512_inserti64x4(low, b.rounded(), 1));
}
TINYLORA_INLINE void streamed() { _mm_sfence(); }

#if defined(__AVX512BF16__)
struct Pairs {
  __m512i v;

  TINYLORA_INLINE static Pairs all(std::int32_t pair) { return {_mm512_set1_epi32(pair)}; }
  TINYLORA_INLINE static Pairs load(const Bf16* p) { return {_mm512_loadu_si512(p)}; }
  TINYLORA_INLINE static Pairs load(const Bf16* p, int count) {
    return {_mm512_maskz_loadu_epi32(Floats::mask(count), p)};
  }
  TINYLORA_INLINE Pairs first_of_each() const { return {_mm512_and_si512(v, _mm512_set1_epi32(0xffff))}; }
};
TINYLORA_INLINE Floats dot(Pairs a, Pairs b, Floats c) {
  return {_mm512_dpbf16_ps(c.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v))};
}
#endif

TINYLORA_INLINE Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats operator-(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats operator/(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
TINYLORA_INLINE Floats max(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats min(Floats a, Floats b) { return {_mm512_min_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats where_less(Floats a, Floats b, Floats yes, Floats no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
TINYLORA_INLINE Floats first(int count, Floats a, Floats other) {
  return {_mm512_mask_blend_ps(Floats::mask(count), other.v, a.v)};
}
TINYLORA_INLINE Floats even_of_pairs(const Bf16* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
TINYLORA_INLINE Floats odd_of_pairs(const Bf16* p) {
  return {
      _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000U))))};
}
TINYLORA_INLINE Floats even_of_pairs(const Bf16* p, int count) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_maskz_loadu_epi32(Floats::mask(count), p), 16))};
}
TINYLORA_INLINE Floats odd_of_pairs(const Bf16* p, int count) {
  const __mmask32 odd = static_cast<__mmask32>(0xaaaaaaaaU & ((std::uint64_t{1} << (2 * count)) - 1U));
  return {_mm512_castsi512_ps(_mm512_maskz_loadu_epi16(odd, p))};
}
TINYLORA_INLINE Floats times_power_of_two(Floats a, Floats n) { return {_mm512_scalef_ps(a.v, n.v)}; }
TINYLORA_INLINE Floats round(Floats a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
TINYLORA_INLINE float sum(Floats a) {
  return sum_of_eight(_mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
}
TINYLORA_INLINE float largest(Floats a) {
  return largest_of_eight(_mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
}

}  // namespace tinylora::TINYLORA_ISA
