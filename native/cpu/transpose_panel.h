// Panels of W from the forward layout into one panel of W^T (TransposeTask), in small square blocks.
//   fp32  from[o / panel][i][o % panel]            to[o][i - first]
//   bf16  from[o / panel][i / 2][o % panel][i % 2]  to[o / 2][i - first][o % 2]
// In bf16 the two outputs o, o + 1 of a pair of inputs are one 64-bit word on both sides: its four numbers change
// places (0 2 1 3), and the words are transposed.
#pragma once

#include "cpu/pack_rows.h"
#include "cpu/product_kernels.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

/// A panel of `count` columns (less than kPanel at the end of the row) times kPanel outputs.
template <int kPanel>
void transpose_outputs(const float* from, int count, float* to) {
  int i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int o = 0; o < kPanel; o += 4) {
      __m128i row[4];
      for (int r = 0; r < 4; ++r) row[r] = WidenedUnit<float>::four(from + (i + r) * kPanel + o);
      store_transposed(row, reinterpret_cast<std::uint32_t*>(to + o * kPanel + i), kPanel);
    }
  }
  for (; i < kPanel; ++i) {
    for (int o = 0; o < kPanel; ++o) to[o * kPanel + i] = i < count ? from[i * kPanel + o] : 0.0F;
  }
}

TINYLORA_INLINE __m256i swap_middle(const Bf16* p) {
  const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_shufflelo_epi16(_mm256_shufflehi_epi16(word, 0xd8), 0xd8);
}

template <int kPanel>
void transpose_outputs(const Bf16* from, int count, Bf16* to) {
  constexpr int kRow = 2 * kPanel;  // numbers of one pair, on both sides
  const auto store = [](Bf16* p, __m256i value) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), value); };
  int i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int o = 0; o < kPanel; o += 8) {  // 4 x 4 words
      const Bf16* p = from + i / 2 * kRow + 2 * o;
      const __m256i a = swap_middle(p);
      const __m256i b = swap_middle(p + kRow);
      const __m256i c = swap_middle(p + 2 * kRow);
      const __m256i d = swap_middle(p + 3 * kRow);
      const __m256i ab0 = _mm256_unpacklo_epi64(a, b);
      const __m256i ab1 = _mm256_unpackhi_epi64(a, b);
      const __m256i cd0 = _mm256_unpacklo_epi64(c, d);
      const __m256i cd1 = _mm256_unpackhi_epi64(c, d);
      Bf16* q = to + o / 2 * kRow + 2 * i;
      store(q, _mm256_permute2x128_si256(ab0, cd0, 0x20));
      store(q + kRow, _mm256_permute2x128_si256(ab1, cd1, 0x20));
      store(q + 2 * kRow, _mm256_permute2x128_si256(ab0, cd0, 0x31));
      store(q + 3 * kRow, _mm256_permute2x128_si256(ab1, cd1, 0x31));
    }
  }
  for (; i < kPanel; ++i) {
    for (int o = 0; o < kPanel; ++o) {
      to[o / 2 * kRow + 2 * i + o % 2] = i < count ? from[i / 2 * kRow + 2 * o + i % 2] : Bf16{};
    }
  }
}

template <class Element, int kPanel>
void transpose_panel(const TransposeTask& task) {
  const int left = task.padded_in - task.first_in;
  const int count = left < kPanel ? left : kPanel;
  auto* to = static_cast<Element*>(task.result);
  for (int panel = task.first_panel; panel < task.last_panel; ++panel, to += kPanel * kPanel) {
    const auto* from = reinterpret_cast<const Element*>(task.panels + std::size_t(panel) * task.panel_bytes);
    transpose_outputs<kPanel>(from + std::ptrdiff_t{task.first_in} * kPanel, count, to);
  }
}

}  // namespace tinylora::TINYLORA_ISA
