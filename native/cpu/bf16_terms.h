// A float as the sum of two bf16 terms: its upper 16 bits, and the rest rounded to a second bf16. The sum is off by at
// most 2^-16 of the number. Of an infinity or a NaN the sum is not finite either. Attention's backward pass multiplies
// floats on bf16 units in this form (attention_amx_backward.h).
#pragma once

#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

/// Both as floats whose lower 16 bits are to be ignored.
struct Terms {
  Floats high;
  Floats low;
};

#if defined(__AVX512F__)

TINYLORA_INLINE Terms two_terms(Floats x) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000U));
  const Floats high{_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x.v), upper))};
  const __m512i rest = _mm512_castps_si512((x - high).v);
  return {high, {_mm512_castsi512_ps(_mm512_add_epi32(rest, _mm512_set1_epi32(0x8000)))}};
}
/// kLanes bf16.
TINYLORA_INLINE void store_upper(Floats a, Bf16* to) {
  const __m512i bits = _mm512_srli_epi32(_mm512_castps_si512(a.v), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(bits));
}
/// kLanes pairs of bf16: to[i][0] from `even`, to[i][1] from `odd`.
TINYLORA_INLINE void store_upper_pairs(Floats even, Floats odd, Bf16* to) {
  const __m512i below = _mm512_srli_epi32(_mm512_castps_si512(even.v), 16);
  const __m512i above = _mm512_and_si512(_mm512_castps_si512(odd.v), _mm512_set1_epi32(static_cast<int>(0xffff0000U)));
  _mm512_storeu_si512(to, _mm512_or_si512(below, above));
}

#else

TINYLORA_INLINE Terms two_terms(Floats x) {
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000U));
  const Floats high{_mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(x.v), upper))};
  const __m256i rest = _mm256_castps_si256((x - high).v);
  return {high, {_mm256_castsi256_ps(_mm256_add_epi32(rest, _mm256_set1_epi32(0x8000)))}};
}
TINYLORA_INLINE void store_upper(Floats a, Bf16* to) {
  const __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(a.v), 16);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
}
TINYLORA_INLINE void store_upper_pairs(Floats even, Floats odd, Bf16* to) {
  const __m256i below = _mm256_srli_epi32(_mm256_castps_si256(even.v), 16);
  const __m256i above = _mm256_and_si256(_mm256_castps_si256(odd.v), _mm256_set1_epi32(static_cast<int>(0xffff0000U)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_or_si256(below, above));
}

#endif

}  // namespace tinylora::TINYLORA_ISA
