// A vector of floats as wide as the instruction set has it, for kernels that are written once and compiled once an
// instruction set (files named *_avx2.cpp, *_avx512.cpp, *_avx512bf16.cpp, *_amx.cpp, *_neon.cpp, *_neonbf16.cpp;
// flags in CMakeLists.txt).
//
// Everything here lives in a namespace named after the instruction set, so that no inline function of one file can be
// linked into another that must run on an older machine. Kernel files include no other header with inline code that
// computes; they are reached through function pointers.
#pragma once

#if defined(__AMX_BF16__) || defined(__AMXBF16__)  // the latter: Clang 14
#define TINYLORA_ISA isa_amx
#elif defined(__AVX512BF16__)
#define TINYLORA_ISA isa_avx512bf16
#elif defined(__AVX512F__)
#define TINYLORA_ISA isa_avx512
#elif defined(__AVX2__)
#define TINYLORA_ISA isa_avx2
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define TINYLORA_ISA isa_neonbf16
#elif defined(__aarch64__)
#define TINYLORA_ISA isa_neon
#else
#error "simd.h is for the files that CMakeLists.txt compiles for one instruction set"
#endif

/// Whether the instruction set multiplies pairs of bf16: then there are Pairs and dot.
#if defined(__AVX512BF16__) || defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define TINYLORA_BF16_DOT
#endif

#define TINYLORA_INLINE [[gnu::always_inline]] inline
/// Before a loop of fixed length over an array of vectors: unrolled early, so that the array becomes registers.
#define TINYLORA_UNROLL _Pragma("GCC unroll 24")

// Each of the headers below has
//   kLanes                 floats of a vector
//   Floats                 the vector: zero, all, load, store. load and store need no alignment; with `count` they take
//                          the first count (0..kLanes) elements only, and load gives zeros for the others. Bf16 is
//                          widened exactly on load and rounded to nearest even on store
//   + - * /, fma           fma(a, b, c) = a * b + c, rounded once
//   max, min               the second where one is NaN
//   where_less             yes where a < b, else no (also where a or b is NaN)
//   first                  the first `count` lanes of a, `other` in the rest
//   even_of_pairs, odd_of_pairs
//                          the numbers at even or at odd places of 2 * kLanes bf16, or of `count` pairs of them
//   Pairs, dot             kLanes pairs of bf16, loaded like Floats, or all the same; dot(a, b, c) adds both products
//                          of a pair to a lane of c; first_of_each makes zeros of the seconds
//   times_power_of_two     a * 2^n for whole numbers n in -126..128
//   round                  to the nearest whole number, ties to even
//   sum, largest           of all lanes: halves are combined until one is left, always in the same order
//   square_root            of one float
//   streamed               other threads may now read what was stored past the caches
#if defined(__AVX512F__)
#include "cpu/simd_avx512.h"
#elif defined(__AVX2__)
#include "cpu/simd_avx2.h"
#else
#include "cpu/simd_neon.h"
#endif

namespace tinylora::TINYLORA_ISA {

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
