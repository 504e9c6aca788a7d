// The one product behind attention, forward and backward: a few rows times two vectors,
//   c[i, lane] = fma(a[i, n], b[n, lane], c[i, lane] * scale[i]), n ascending.
// An element of c is summed in one lane in this order, whatever the number of rows beside it. Sums wait in memory as the
// floats they are, so cutting n into several calls changes nothing.
#pragma once

#include <cstddef>

#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

/// Rows of c at once: with two vectors a row, 16 of 32 registers on AVX-512 and 8 of 16 on AVX2.
inline constexpr int kAttentionRows = kLanes == 16 ? 8 : 4;

/// a[i, n], with i or n running fastest.
struct ByRow {
  const float* p;
  std::ptrdiff_t stride;
  TINYLORA_INLINE float at(int i, int n) const { return p[i * stride + n]; }
  TINYLORA_INLINE ByRow from(int i, int n) const { return {p + i * stride + n, stride}; }
};
struct ByColumn {
  const float* p;
  std::ptrdiff_t stride;
  TINYLORA_INLINE float at(int i, int n) const { return p[n * stride + i]; }
  TINYLORA_INLINE ByColumn from(int i, int n) const { return {p + n * stride + i, stride}; }
};

/// b[n, column], n being even or odd as `kOdd` says. Floats lie row after row; bf16 lie in pairs, b[n / 2][column][n % 2],
/// so that one load widens to two rows. The last row of an odd number leaves its partner untouched: that may be a slot
/// nobody has written.
template <bool kOdd>
TINYLORA_INLINE Floats load_row(const float* b, int width, int n, int column) {
  return Floats::load(b + n * width + column);
}
template <bool kOdd>
TINYLORA_INLINE Floats load_row(const float* b, int width, int n, int column, int count) {
  return Floats::load(b + n * width + column, count);
}
template <bool kOdd>
TINYLORA_INLINE Floats load_row(const Bf16* b, int width, int n, int column) {
  const Bf16* pairs = b + 2 * ((n >> 1) * width + column);
  return kOdd ? odd_of_pairs(pairs) : even_of_pairs(pairs);
}
template <bool kOdd>
TINYLORA_INLINE Floats load_row(const Bf16* b, int width, int n, int column, int count) {
  const Bf16* pairs = b + 2 * ((n >> 1) * width + column);
  return kOdd ? odd_of_pairs(pairs, count) : even_of_pairs(pairs, count);
}

/// n = begin .. end - 1.
struct Range {
  int begin;
  int end;

  /// even(n) or odd(n) for each n, ascending.
  template <class Even, class Odd>
  TINYLORA_INLINE void for_each(const Even& even, const Odd& odd) const {
    int n = begin;
    if (n < end && n % 2 != 0) odd(n++);
    for (; n + 1 < end; n += 2) {
      even(n);
      odd(n + 1);
    }
    if (n < end) even(n);
  }
};

/// Where a call starts: at zero, or at what lies in c, or at c[i] * scale[i].
struct FromZero {
  TINYLORA_INLINE Floats start(int, Floats) const { return Floats::zero(); }
};
struct FromSums {
  TINYLORA_INLINE Floats start(int, Floats c) const { return c; }
};
struct FromScaled {
  const float* scale;
  TINYLORA_INLINE Floats start(int i, Floats c) const { return c * Floats::all(scale[i]); }
};

/// kRows rows by kVectors vectors; the vectors are whole or, one vector only, `count` lanes of it.
template <int kRows, int kVectors, bool kWhole, class A, class B, class Start>
TINYLORA_INLINE void columns(Range range, A a, const B* b, int width, int column, float* c, int c_stride, Start start) {
  const int count = kWhole ? kLanes : width - column;
  float* out = c + column;
  Floats sums[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) {
      const float* p = out + i * c_stride + j * kLanes;
      sums[i][j] = start.start(i, kWhole ? Floats::load(p) : Floats::load(p, count));
    }
  }
  const auto add = [&](int n, const Floats(&row)[kVectors]) {
    for (int i = 0; i < kRows; ++i) {
      const Floats left = Floats::all(a.at(i, n));
      for (int j = 0; j < kVectors; ++j) sums[i][j] = fma(left, row[j], sums[i][j]);
    }
  };
  const auto step = [&]<bool kOdd>(int n) {
    Floats row[kVectors];
    for (int j = 0; j < kVectors; ++j) {
      const int from = column + j * kLanes;
      row[j] = kWhole ? load_row<kOdd>(b, width, n, from) : load_row<kOdd>(b, width, n, from, count);
    }
    add(n, row);
  };
  range.for_each([&](int n) { step.template operator()<false>(n); }, [&](int n) { step.template operator()<true>(n); });
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) {
      float* p = out + i * c_stride + j * kLanes;
      kWhole ? sums[i][j].store(p) : sums[i][j].store(p, count);
    }
  }
}

template <int kRows, class A, class B, class Start>
void product_of_rows(Range range, A a, const B* b, int width, float* c, int c_stride, Start start) {
  int column = 0;
  for (; column + 2 * kLanes <= width; column += 2 * kLanes) {
    columns<kRows, 2, true>(range, a, b, width, column, c, c_stride, start);
  }
  if (column + kLanes <= width) {
    columns<kRows, 1, true>(range, a, b, width, column, c, c_stride, start);
    column += kLanes;
  }
  if (column < width) columns<kRows, 1, false>(range, a, b, width, column, c, c_stride, start);
}

/// c[0 .. rows, 0 .. width] from a[rows, n] and b[n, width], rows at most kAttentionRows.
template <class A, class B, class Start>
void small_product(int rows, Range range, A a, const B* b, int width, float* c, int c_stride, Start start) {
  switch (rows) {
    case 1: return product_of_rows<1>(range, a, b, width, c, c_stride, start);
    case 2: return product_of_rows<2>(range, a, b, width, c, c_stride, start);
    case 3: return product_of_rows<3>(range, a, b, width, c, c_stride, start);
    case 4: return product_of_rows<4>(range, a, b, width, c, c_stride, start);
#if defined(__AVX512F__)
    case 5: return product_of_rows<5>(range, a, b, width, c, c_stride, start);
    case 6: return product_of_rows<6>(range, a, b, width, c, c_stride, start);
    case 7: return product_of_rows<7>(range, a, b, width, c, c_stride, start);
    case 8: return product_of_rows<8>(range, a, b, width, c, c_stride, start);
#endif
  }
}

/// The same for any number of rows. FromScaled is not meant here.
template <class A, class B, class Start>
void product(int rows, Range range, A a, const B* b, int width, float* c, int c_stride, Start start) {
  for (int i = 0; i < rows; i += kAttentionRows) {
    const int some = rows - i < kAttentionRows ? rows - i : kAttentionRows;
    small_product(some, range, a.from(i, 0), b, width, c + i * c_stride, c_stride, start);
  }
}

}  // namespace tinylora::TINYLORA_ISA
