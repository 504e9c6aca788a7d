// A vector of floats as wide as the instruction set has it, for kernels that are written once and compiled once an
// instruction set (files named *_avx2.cpp, *_avx512.cpp, *_avx512bf16.cpp, *_amx.cpp; flags in CMakeLists.txt).
//
// Everything here lives in a namespace named after the instruction set, so that no inline function of one file can be
// linked into another that must run on an older machine. Kernel files include no other header with inline code that
// computes; they are reached through function pointers.
#pragma once

// GCC 12 calls the deliberately undefined registers of its own AVX-512 header uninitialized (its bug 105593). Clang
// does not, and knows no such warning.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>

#include "core/dtype.h"

#if defined(__AMX_BF16__) || defined(__AMXBF16__)  // the latter: Clang 14
#define TINYLORA_ISA isa_amx
#elif defined(__AVX512BF16__)
#define TINYLORA_ISA isa_avx512bf16
#elif defined(__AVX512F__)
#define TINYLORA_ISA isa_avx512
#elif defined(__AVX2__)
#define TINYLORA_ISA isa_avx2
#else
#error "simd.h is for the files that CMakeLists.txt compiles for one instruction set"
#endif

#define TINYLORA_INLINE [[gnu::always_inline]] inline
/// Before a loop of fixed length over an array of vectors: unrolled early, so that the array becomes registers.
#define TINYLORA_UNROLL _Pragma("GCC unroll 24")

namespace tinylora::TINYLORA_ISA {

TINYLORA_INLINE void streamed() { _mm_sfence(); }

#if defined(__AVX512F__)

inline constexpr int kLanes = 16;

/// kLanes floats. load and store need no alignment; `count` versions touch the first count (0..kLanes) elements only
/// and read zeros for the others. Bf16 is widened exactly on load and rounded to nearest even on store.
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
TINYLORA_INLINE Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats operator-(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats operator/(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
/// a * b + c, rounded once.
TINYLORA_INLINE Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
TINYLORA_INLINE Floats max(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
TINYLORA_INLINE Floats min(Floats a, Floats b) { return {_mm512_min_ps(a.v, b.v)}; }
/// yes where a < b, else no (also where a or b is NaN).
TINYLORA_INLINE Floats where_less(Floats a, Floats b, Floats yes, Floats no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
/// The first `count` lanes of a, `other` in the rest.
TINYLORA_INLINE Floats first(int count, Floats a, Floats other) {
  return {_mm512_mask_blend_ps(Floats::mask(count), other.v, a.v)};
}
/// The numbers at even or at odd places of 2 * kLanes bf16, or of `count` pairs of them.
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
/// a * 2^n for whole numbers n in -126..128.
TINYLORA_INLINE Floats times_power_of_two(Floats a, Floats n) { return {_mm512_scalef_ps(a.v, n.v)}; }
TINYLORA_INLINE Floats round(Floats a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
TINYLORA_INLINE __m256 halves_sum(Floats a) {
  return _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
}
TINYLORA_INLINE __m256 halves_max(Floats a) {
  return _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
}

#else

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
TINYLORA_INLINE __m256 halves_sum(Floats a) { return a.v; }
TINYLORA_INLINE __m256 halves_max(Floats a) { return a.v; }

#endif

/// Sum of all lanes: halves are added until one is left, always in the same order.
TINYLORA_INLINE float sum(Floats a) {
  const __m256 eight = halves_sum(a);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

TINYLORA_INLINE float largest(Floats a) {
  const __m256 eight = halves_max(a);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/// e^x to 1.5 ulp: x = n ln 2 + t with |t| <= ln 2 / 2, e^t by its series to the seventh power, times 2^n.
/// Below -87.33 (also -infinity) exactly 0, above 88.72 infinity, NaN stays NaN.
TINYLORA_INLINE Floats exp(Floats x) {
  const Floats low = Floats::all(-87.33654F);
  const Floats clamped = min(Floats::all(89.0F), max(low, x));  // min and max give the second when one is NaN
  const Floats n = round(clamped * Floats::all(1.44269504F));
  Floats t = fma(n, Floats::all(-0.693145752F), clamped);
  t = fma(n, Floats::all(-1.42860677e-6F), t);
  Floats p = Floats::all(1.98412698e-4F);
  p = fma(p, t, Floats::all(1.38888889e-3F));
  p = fma(p, t, Floats::all(8.33333333e-3F));
  p = fma(p, t, Floats::all(4.16666667e-2F));
  p = fma(p, t, Floats::all(1.66666667e-1F));
  p = fma(p, t, Floats::all(0.5F));
  p = fma(p * t, t, t);
  return where_less(x, low, Floats::zero(), times_power_of_two(p + Floats::all(1.0F), n));
}

}  // namespace tinylora::TINYLORA_ISA
