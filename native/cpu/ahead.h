// Asks for weights that a thread is going to read, into the second-level cache: a few lines at every step of a tile's
// dot products, since a burst of them would keep other loads waiting.
#pragma once

#include <cstddef>

#include "cpu/product_kernels.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

struct Ahead {
  const std::byte* next = nullptr;
  const std::byte* end = nullptr;
  int lines_a_step = 0;

  TINYLORA_INLINE void operator()() {
    for (int i = 0; i < lines_a_step && next < end; ++i, next += kLine) __builtin_prefetch(next, 0, 2);
  }

  /// `panel` is about to be multiplied with the blocks of a task; `after`, or none, is the one that comes then. Many
  /// blocks, which have the panel in a cache from the second one on, share out the lines of the one after. One block
  /// reads on in memory and asks kAhead bytes further on; few rows read so fast that the processor runs far enough
  /// ahead by itself.
  template <class Tile>
  static Ahead of(const ProductTask& task, const std::byte* panel, const std::byte* after) {
    constexpr int kBytesOfStep = Tile::kStep * Tile::kPanel * static_cast<int>(sizeof(typename Tile::Element));
    constexpr int kLinesOfStep = (kBytesOfStep + kLine - 1) / kLine;
    if (task.panels_cached || task.rows < Tile::kAskFrom) return {};
    const int blocks = task.last_block - task.first_block;
    const std::byte* first = blocks == 1 && Tile::kAhead > 0 ? panel + Tile::kAhead : after;
    if (first == nullptr) return {};
    return {first, first + task.panel_bytes, (kLinesOfStep + blocks - 1) / blocks};
  }

 private:
  static constexpr int kLine = 64;
};

}  // namespace tinylora::TINYLORA_ISA
