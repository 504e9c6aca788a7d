// Rows of bf16 into the orders that tiles of a product read: words of 32 bits (pairs of bf16, or floats) transposed;
// two neighbouring rows interleaved to one row of pairs, and such pairs taken apart again.
#pragma once

#include "cpu/words.h"

namespace tinylora::TINYLORA_ISA {

#if defined(__AVX512F__)
inline constexpr int kWordBlock = 16;

/// A block of 16 x 16 words, strides in words: words of two rows are interleaved, then pairs of words of four rows,
/// then quarters of 128 bits among groups of rows, twice.
TINYLORA_INLINE void transpose_block(const std::uint32_t* from, int from_stride, std::uint32_t* to, int to_stride) {
  __m512i a[16];
  __m512i b[16];
  TINYLORA_UNROLL for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(from + i * from_stride);
  TINYLORA_UNROLL for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
  TINYLORA_UNROLL for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  TINYLORA_UNROLL for (int i = 0; i < 4; ++i) {
    b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
    b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
    b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
    b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
  }
  TINYLORA_UNROLL for (int i = 0; i < 8; ++i) {
    _mm512_storeu_si512(to + i * to_stride, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
    _mm512_storeu_si512(to + (i + 8) * to_stride, _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
  }
}

alignas(64) inline constexpr std::uint16_t kEvenPlaces[32] = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20,
                                                              22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42,
                                                              44, 46, 48, 50, 52, 54, 56, 58, 60, 62};
alignas(64) inline constexpr std::uint16_t kJoined[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                          8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};

/// to[i][0] = even[i], to[i][1] = odd[i], i < 32.
TINYLORA_INLINE void join_32(const Bf16* even, const Bf16* odd, Bf16* to) {
  const __m512i a = _mm512_loadu_si512(even);
  const __m512i b = _mm512_loadu_si512(odd);
  const __m512i places = _mm512_load_si512(kJoined);
  const __m512i later = _mm512_add_epi16(places, _mm512_set1_epi16(16));
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, places, b));
  _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi16(a, later, b));
}
/// The inverse: even[i] = from[i][0], odd[i] = from[i][1], i < 32.
TINYLORA_INLINE void part_32(const Bf16* from, Bf16* even, Bf16* odd) {
  const __m512i a = _mm512_loadu_si512(from);
  const __m512i b = _mm512_loadu_si512(from + 32);
  const __m512i places = _mm512_load_si512(kEvenPlaces);
  const __m512i next = _mm512_add_epi16(places, _mm512_set1_epi16(1));
  _mm512_storeu_si512(even, _mm512_permutex2var_epi16(a, places, b));
  _mm512_storeu_si512(odd, _mm512_permutex2var_epi16(a, next, b));
}
#else
inline constexpr int kWordBlock = 4;

TINYLORA_INLINE void transpose_block(const std::uint32_t* from, int from_stride, std::uint32_t* to, int to_stride) {
  Words row[4];
  for (int i = 0; i < 4; ++i) row[i] = load_words(from + i * from_stride);
  store_transposed(row, to, to_stride);
}

TINYLORA_INLINE void join_32(const Bf16* even, const Bf16* odd, Bf16* to) {
  for (int i = 0; i < 32; ++i) {
    to[2 * i] = even[i];
    to[2 * i + 1] = odd[i];
  }
}
TINYLORA_INLINE void part_32(const Bf16* from, Bf16* even, Bf16* odd) {
  for (int i = 0; i < 32; ++i) {
    even[i] = from[2 * i];
    odd[i] = from[2 * i + 1];
  }
}
#endif

/// Words [rows, words] to [words, rows]: in blocks, and one by one where the last ones fill none.
TINYLORA_INLINE void transpose_words(int rows, int words, const void* from, void* to) {
  const auto* source = static_cast<const std::uint32_t*>(from);
  auto* target = static_cast<std::uint32_t*>(to);
  const int whole_rows = rows / kWordBlock * kWordBlock;
  const int whole_words = words / kWordBlock * kWordBlock;
  for (int word = 0; word < whole_words; word += kWordBlock) {
    for (int row = 0; row < whole_rows; row += kWordBlock) {
      transpose_block(source + row * words + word, words, target + word * rows + row, rows);
    }
  }
  for (int row = 0; row < rows; ++row) {
    const int first = row < whole_rows ? whole_words : 0;
    for (int word = first; word < words; ++word) target[word * rows + row] = source[row * words + word];
  }
}

/// Rows [rows, width] to pairs of rows [rows / 2, width, 2]; width is a multiple of 32.
TINYLORA_INLINE void pair_rows(int rows, int width, const Bf16* from, Bf16* to) {
  for (int row = 0; row < rows; row += 2, from += 2 * width, to += 2 * width) {
    for (int i = 0; i < width; i += 32) join_32(from + i, from + width + i, to + 2 * i);
  }
}
/// Pairs of rows [rows / 2, width, 2] to rows [rows, width].
TINYLORA_INLINE void part_rows(int rows, int width, const Bf16* from, Bf16* to) {
  for (int row = 0; row < rows; row += 2, from += 2 * width, to += 2 * width) {
    for (int i = 0; i < width; i += 32) part_32(from + 2 * i, to + i, to + width + i);
  }
}

}  // namespace tinylora::TINYLORA_ISA
