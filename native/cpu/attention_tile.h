// The one product behind attention, forward and backward: a few rows times a few vectors,
//   c[i, lane] = fma(a[i, n], b[n, lane], c[i, lane]), n ascending.
// An element of c is summed in one lane in this order, whatever the number of rows beside it. Between calls the sums
// lie in c as unrounded floats, so cutting n (between pairs) into several calls changes no bit.
//
// Where the instruction set multiplies bf16 pairs, a pair of n is one step: c += a[i, n + 1] b[n + 1] + a[i, n] b[n].
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/lanes.h"

namespace tinylora::TINYLORA_ISA {

/// Rows of c at once: with two vectors a row, 16 of 32 registers on AVX-512 and NEON, 8 of 16 on AVX2.
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

/// What rows of queries and probabilities are kept as when they meet pages of T.
template <typename T>
struct LeftOf {
  using Type = float;
};
TINYLORA_INLINE ByRow by_row(const float* p, int stride) { return {p, stride}; }
TINYLORA_INLINE ByColumn by_column(const float* p, int stride) { return {p, stride}; }

#if defined(TINYLORA_BF16_DOT)
/// Pairs a[i, n], a[i, n + 1] as one number of 32 bits; strides in bf16, from i to i + 1 and from n to n + 2.
struct PairsOf {
  const Bf16* p;
  std::ptrdiff_t row, pair;
  TINYLORA_INLINE Pairs at(int i) const {
    std::int32_t both;
    __builtin_memcpy(&both, p + i * row, sizeof both);
    return Pairs::all(both);
  }
  TINYLORA_INLINE PairsOf from(int i, int n) const { return {p + i * row + n / 2 * pair, row, pair}; }
};
template <>
struct LeftOf<Bf16> {
  using Type = Bf16;
};
/// a [rows, stride].
TINYLORA_INLINE PairsOf by_row(const Bf16* p, int stride) { return {p, stride, 2}; }
/// a [n / 2][stride][2].
TINYLORA_INLINE PairsOf by_column(const Bf16* p, int stride) { return {p, 2, 2 * std::ptrdiff_t{stride}}; }

TINYLORA_INLINE Pairs load_pairs(const Bf16* p, WholeVector) { return Pairs::load(p); }
TINYLORA_INLINE Pairs load_pairs(const Bf16* p, PartVector part) { return Pairs::load(p, part.count); }
#endif

/// Row n (even) or n + 1 (`kOdd`) of b, of which `pair` is where row n begins. Floats lie row after row; bf16 lie in
/// pairs, b[n / 2][column][n % 2], so that one load widens to two rows. The last row of an odd number leaves its
/// partner untouched: that may be a slot nobody has written.
template <bool kOdd, class Lanes>
TINYLORA_INLINE Floats load_row(const float* pair, std::ptrdiff_t width, std::ptrdiff_t column, Lanes lanes) {
  return load(pair + (kOdd ? width : 0) + column, lanes);
}
template <bool kOdd>
TINYLORA_INLINE Floats load_row(const Bf16* pair, std::ptrdiff_t, std::ptrdiff_t column, WholeVector) {
  return kOdd ? odd_of_pairs(pair + 2 * column) : even_of_pairs(pair + 2 * column);
}
template <bool kOdd>
TINYLORA_INLINE Floats load_row(const Bf16* pair, std::ptrdiff_t, std::ptrdiff_t column, PartVector part) {
  return kOdd ? odd_of_pairs(pair + 2 * column, part.count) : even_of_pairs(pair + 2 * column, part.count);
}

/// n = begin .. end - 1; begin is even.
struct Range {
  int begin;
  int end;
};

/// Where a call starts: at zero, or at what lies in c, or at c[i] * scale[i].
struct FromZero {
  TINYLORA_INLINE Floats operator()(int, Floats) const { return Floats::zero(); }
};
struct FromSums {
  TINYLORA_INLINE Floats operator()(int, Floats c) const { return c; }
};
struct FromScaled {
  const float* scale;
  TINYLORA_INLINE Floats operator()(int i, Floats c) const { return c * Floats::all(scale[i]); }
};

/// kRows x kVectors of c in registers, from column `column` on; `Lanes` is PartVector for the last columns.
template <int kRows, int kVectors, class Lanes>
struct Sums {
  Floats v[kRows][kVectors];
  std::ptrdiff_t column;
  Lanes lanes;

  template <class Start>
  TINYLORA_INLINE void load_from(const float* c, std::ptrdiff_t stride, Start start) {
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; ++j) v[i][j] = start(i, load(c + i * stride + column + j * kLanes, lanes));
    }
  }
  TINYLORA_INLINE void store_to(float* c, std::ptrdiff_t stride) const {
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; ++j) store(v[i][j], c + i * stride + column + j * kLanes, lanes);
    }
  }

  template <bool kOdd, class A, class B>
  TINYLORA_INLINE void add(A a, const B* pair, std::ptrdiff_t width) {
    Floats row[kVectors];
    for (int j = 0; j < kVectors; ++j) row[j] = load_row<kOdd>(pair, width, column + j * kLanes, lanes);
    for (int i = 0; i < kRows; ++i) {
      const Floats left = Floats::all(a.at(i, kOdd ? 1 : 0));
      for (int j = 0; j < kVectors; ++j) v[i][j] = fma(left, row[j], v[i][j]);
    }
  }
  template <class A, class B>
  TINYLORA_INLINE void add_pair(A a, const B* pair, std::ptrdiff_t width) {
    add<false>(a, pair, width);
    add<true>(a, pair, width);
  }
  template <class A, class B>
  TINYLORA_INLINE void add_single(A a, const B* pair, std::ptrdiff_t width) {
    add<false>(a, pair, width);
  }

#if defined(TINYLORA_BF16_DOT)
  TINYLORA_INLINE void add_pair(PairsOf a, const Bf16* pair, std::ptrdiff_t) { add_dots<false>(a, pair); }
  TINYLORA_INLINE void add_single(PairsOf a, const Bf16* pair, std::ptrdiff_t) { add_dots<true>(a, pair); }
  template <bool kSingle>
  TINYLORA_INLINE void add_dots(PairsOf a, const Bf16* pair) {
    Pairs row[kVectors];
    for (int j = 0; j < kVectors; ++j) {
      row[j] = load_pairs(pair + 2 * (column + j * kLanes), lanes);
      if (kSingle) row[j] = row[j].first_of_each();
    }
    for (int i = 0; i < kRows; ++i) {
      const Pairs left = a.at(i);
      for (int j = 0; j < kVectors; ++j) v[i][j] = dot(row[j], left, v[i][j]);
    }
  }
#endif
};

template <int kRows, int kVectors, class Lanes, class A, class B, class Start>
TINYLORA_INLINE void columns(Range range, A a, const B* b, std::ptrdiff_t width, float* c, std::ptrdiff_t c_stride,
                             Start start, std::ptrdiff_t column, Lanes lanes) {
  Sums<kRows, kVectors, Lanes> sums;
  sums.column = column;
  sums.lanes = lanes;
  sums.load_from(c, c_stride, start);
  A left = a.from(0, range.begin);
  const B* pair = b + range.begin * width;
  int n = range.begin;
  for (; n + 1 < range.end; n += 2) {
    sums.add_pair(left, pair, width);
    left = left.from(0, 2);
    pair += 2 * width;
  }
  if (n < range.end) sums.add_single(left, pair, width);
  sums.store_to(c, c_stride);
}

/// Few rows leave registers for more columns, which keeps both multipliers busy.
template <int kRows, class A, class B, class Start>
void product_of_rows(Range range, A a, const B* b, int width, float* c, int c_stride, Start start) {
  int column = 0;
  if constexpr (2 * kRows <= kAttentionRows) {
    for (; column + 4 * kLanes <= width; column += 4 * kLanes) {
      columns<kRows, 4>(range, a, b, width, c, c_stride, start, column, WholeVector{});
    }
  }
  for (; column + 2 * kLanes <= width; column += 2 * kLanes) {
    columns<kRows, 2>(range, a, b, width, c, c_stride, start, column, WholeVector{});
  }
  for (; column + kLanes <= width; column += kLanes) {
    columns<kRows, 1>(range, a, b, width, c, c_stride, start, column, WholeVector{});
  }
  if (column < width) columns<kRows, 1>(range, a, b, width, c, c_stride, start, column, PartVector{width - column});
}

/// c[0 .. rows, 0 .. width] from a[rows, n] and b[n, width], rows at most kAttentionRows.
template <class A, class B, class Start>
void small_product(int rows, Range range, A a, const B* b, int width, float* c, int c_stride, Start start) {
  switch (rows) {
    case 1:
      return product_of_rows<1>(range, a, b, width, c, c_stride, start);
    case 2:
      return product_of_rows<2>(range, a, b, width, c, c_stride, start);
    case 3:
      return product_of_rows<3>(range, a, b, width, c, c_stride, start);
    case 4:
      return product_of_rows<4>(range, a, b, width, c, c_stride, start);
#if defined(__AVX512F__)
    case 5:
      return product_of_rows<5>(range, a, b, width, c, c_stride, start);
    case 6:
      return product_of_rows<6>(range, a, b, width, c, c_stride, start);
    case 7:
      return product_of_rows<7>(range, a, b, width, c, c_stride, start);
    case 8:
      return product_of_rows<8>(range, a, b, width, c, c_stride, start);
#endif
  }
}

}  // namespace tinylora::TINYLORA_ISA
