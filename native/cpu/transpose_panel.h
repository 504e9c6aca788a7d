// Panels of W from the forward layout into one panel of W^T (TransposeTask), in small square blocks.
//   fp32  from[o / panel][i][o % panel]            to[o][i - first]
//   bf16  from[o / panel][i / 2][o % panel][i % 2]  to[o / 2][i - first][o % 2]
// In bf16 the two outputs o, o + 1 of a pair of inputs are one 64-bit word on both sides: its four numbers change
// places (0 2 1 3), and the words are transposed.
#pragma once

#include "cpu/product_kernels.h"
#include "cpu/words.h"

namespace tinylora::TINYLORA_ISA {

/// A panel of `count` columns (less than kPanel at the end of the row) times kPanel outputs.
template <int kPanel>
void transpose_outputs(const float* from, int count, float* to) {
  int i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int o = 0; o < kPanel; o += 4) {
      Words row[4];
      for (int r = 0; r < 4; ++r) row[r] = load_words(from + (i + r) * kPanel + o);
      store_transposed(row, reinterpret_cast<std::uint32_t*>(to + o * kPanel + i), kPanel);
    }
  }
  for (; i < kPanel; ++i) {
    for (int o = 0; o < kPanel; ++o) to[o * kPanel + i] = i < count ? from[i * kPanel + o] : 0.0F;
  }
}

template <int kPanel>
void transpose_outputs(const Bf16* from, int count, Bf16* to) {
  constexpr int kRow = 2 * kPanel;  // numbers of one pair, on both sides
  int i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int o = 0; o < kPanel; o += 8) {
      transpose_long_words(from + i / 2 * kRow + 2 * o, to + o / 2 * kRow + 2 * i, kRow);
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
