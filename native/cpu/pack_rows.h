// Rows of activations into the order in which a tile reads them: packed[unit, row], a unit being what one broadcast
// takes (one float, or a pair of bf16). Inputs beyond the last are zeros.
#pragma once

#include <cstring>

#include "cpu/product_kernels.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

/// A unit is one input, kept as a float.
template <class In>
struct WidenedUnit;

template <>
struct WidenedUnit<float> {
  using Element = float;
  static constexpr int kInputs = 1;
  TINYLORA_INLINE static __m128i four(const float* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  TINYLORA_INLINE static std::uint32_t one(const float* p, int) { return __builtin_bit_cast(std::uint32_t, *p); }
};

template <>
struct WidenedUnit<Bf16> {
  using Element = Bf16;
  static constexpr int kInputs = 1;
  TINYLORA_INLINE static __m128i four(const Bf16* p) {
    return _mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))), 16);
  }
  TINYLORA_INLINE static std::uint32_t one(const Bf16* p, int) { return std::uint32_t{p->bits} << 16; }
};

/// A unit is two inputs in bf16, the first one below; the last one may have a single input.
struct PairUnit {
  using Element = Bf16;
  static constexpr int kInputs = 2;
  TINYLORA_INLINE static __m128i four(const Bf16* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  TINYLORA_INLINE static std::uint32_t one(const Bf16* p, int left) {
    return p[0].bits | (left > 1 ? std::uint32_t{p[1].bits} << 16 : 0U);
  }
};

/// to[unit * stride + row] for 4 rows and 4 units.
TINYLORA_INLINE void store_transposed(const __m128i (&row)[4], std::uint32_t* to, int stride) {
  const __m128i a = _mm_unpacklo_epi32(row[0], row[1]);
  const __m128i b = _mm_unpacklo_epi32(row[2], row[3]);
  const __m128i c = _mm_unpackhi_epi32(row[0], row[1]);
  const __m128i d = _mm_unpackhi_epi32(row[2], row[3]);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi64(a, b));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + stride), _mm_unpackhi_epi64(a, b));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 2 * stride), _mm_unpacklo_epi64(c, d));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 3 * stride), _mm_unpackhi_epi64(c, d));
}

template <class Unit>
void pack_units(const PackTask& task) {
  const auto* x = static_cast<const typename Unit::Element*>(task.x);
  auto* packed = static_cast<std::uint32_t*>(task.packed);
  const int rows = task.rows;
  const int whole = task.in / Unit::kInputs / 4 * 4;  // units that are read by fours
  const int units = task.padded_in / Unit::kInputs;
  int row = 0;
  for (; row + 4 <= rows; row += 4) {
    const auto* from = x + std::ptrdiff_t{row} * task.in;
    for (int unit = 0; unit < whole; unit += 4) {
      __m128i four[4];
      for (int r = 0; r < 4; ++r) four[r] = Unit::four(from + std::ptrdiff_t{r} * task.in + unit * Unit::kInputs);
      store_transposed(four, packed + unit * rows + row, rows);
    }
  }
  for (int r = 0; r < rows; ++r) {
    const auto* from = x + std::ptrdiff_t{r} * task.in;
    for (int unit = r < row ? whole : 0; unit < units; ++unit) {
      const int left = task.in - unit * Unit::kInputs;
      packed[unit * rows + r] = left > 0 ? Unit::one(from + unit * Unit::kInputs, left) : 0U;
    }
  }
}

}  // namespace tinylora::TINYLORA_ISA
