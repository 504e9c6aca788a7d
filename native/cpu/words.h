// Blocks of words of 32 or 64 bits, transposed: numbers change places and nothing is computed.
#pragma once

#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

#if defined(__aarch64__)

/// Four words of 32 bits.
using Words = uint32x4_t;

TINYLORA_INLINE Words load_words(const void* p) {
  return vreinterpretq_u32_u8(vld1q_u8(static_cast<const std::uint8_t*>(p)));
}
/// Four bf16 as floats.
TINYLORA_INLINE Words widen_words(const Bf16* p) {
  return vshll_n_u16(vld1_u16(reinterpret_cast<const std::uint16_t*>(p)), 16);
}
TINYLORA_INLINE void store_words(Words words, std::uint32_t* p) { vst1q_u32(p, words); }
/// The first two, or the last two, words or pairs of words of a and b in turn.
TINYLORA_INLINE Words first_words(Words a, Words b) { return vzip1q_u32(a, b); }
TINYLORA_INLINE Words last_words(Words a, Words b) { return vzip2q_u32(a, b); }
TINYLORA_INLINE Words first_pair(Words a, Words b) {
  return vreinterpretq_u32_u64(vzip1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
}
TINYLORA_INLINE Words last_pair(Words a, Words b) {
  return vreinterpretq_u32_u64(vzip2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
}

/// 4 x 4 words of four bf16 each, the middle two of which change places; `stride` bf16 from row to row on both sides.
TINYLORA_INLINE void transpose_long_words(const Bf16* from, Bf16* to, int stride) {
  const uint8x16_t places = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};
  for (int half = 0; half < 2; ++half) {  // two words of each row
    uint64x2_t row[4];
    for (int r = 0; r < 4; ++r) {
      const auto* p = reinterpret_cast<const std::uint8_t*>(from + r * stride + 8 * half);
      row[r] = vreinterpretq_u64_u8(vqtbl1q_u8(vld1q_u8(p), places));
    }
    const auto store = [&](int word, int first, uint64x2_t two) {
      vst1q_u64(reinterpret_cast<std::uint64_t*>(to + (2 * half + word) * stride + 4 * first), two);
    };
    for (int r = 0; r < 4; r += 2) {
      store(0, r, vzip1q_u64(row[r], row[r + 1]));
      store(1, r, vzip2q_u64(row[r], row[r + 1]));
    }
  }
}

#else

using Words = __m128i;

TINYLORA_INLINE Words load_words(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
TINYLORA_INLINE Words widen_words(const Bf16* p) {
  return _mm_slli_epi32(_mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))), 16);
}
TINYLORA_INLINE void store_words(Words words, std::uint32_t* p) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), words);
}
TINYLORA_INLINE Words first_words(Words a, Words b) { return _mm_unpacklo_epi32(a, b); }
TINYLORA_INLINE Words last_words(Words a, Words b) { return _mm_unpackhi_epi32(a, b); }
TINYLORA_INLINE Words first_pair(Words a, Words b) { return _mm_unpacklo_epi64(a, b); }
TINYLORA_INLINE Words last_pair(Words a, Words b) { return _mm_unpackhi_epi64(a, b); }

TINYLORA_INLINE __m256i swap_middle(const Bf16* p) {
  const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_shufflelo_epi16(_mm256_shufflehi_epi16(word, 0xd8), 0xd8);
}
TINYLORA_INLINE void transpose_long_words(const Bf16* from, Bf16* to, int stride) {
  const auto store = [&](int word, __m256i four) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + word * stride), four);
  };
  const __m256i a = swap_middle(from);
  const __m256i b = swap_middle(from + stride);
  const __m256i c = swap_middle(from + 2 * stride);
  const __m256i d = swap_middle(from + 3 * stride);
  const __m256i ab0 = _mm256_unpacklo_epi64(a, b);
  const __m256i ab1 = _mm256_unpackhi_epi64(a, b);
  const __m256i cd0 = _mm256_unpacklo_epi64(c, d);
  const __m256i cd1 = _mm256_unpackhi_epi64(c, d);
  store(0, _mm256_permute2x128_si256(ab0, cd0, 0x20));
  store(1, _mm256_permute2x128_si256(ab1, cd1, 0x20));
  store(2, _mm256_permute2x128_si256(ab0, cd0, 0x31));
  store(3, _mm256_permute2x128_si256(ab1, cd1, 0x31));
}

#endif

/// to[word * stride + row] for 4 rows of 4 words.
TINYLORA_INLINE void store_transposed(const Words (&row)[4], std::uint32_t* to, int stride) {
  const Words a = first_words(row[0], row[1]);
  const Words b = first_words(row[2], row[3]);
  const Words c = last_words(row[0], row[1]);
  const Words d = last_words(row[2], row[3]);
  store_words(first_pair(a, b), to);
  store_words(last_pair(a, b), to + stride);
  store_words(first_pair(c, d), to + 2 * stride);
  store_words(last_pair(c, d), to + 3 * stride);
}

}  // namespace tinylora::TINYLORA_ISA
