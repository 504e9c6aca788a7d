// The loops around a tile, written once for all instruction sets: packing, the product with its epilogue, and the
// transposition of panels for the backward product. A Tile has kPanel, kBlock, kStep, kInputsAtOnce, kElementBytes,
// kWholeBlocks, kBeside, kAskFrom, kAhead, kCachedBlocks, kCachedPanels, Scope, pack and run.
#pragma once

#include "cpu/ahead.h"
#include "cpu/beside.h"
#include "cpu/low_rank.h"
#include "cpu/product_kernels.h"
#include "cpu/simd.h"
#include "cpu/transpose_panel.h"

namespace tinylora::TINYLORA_ISA {

/// Inputs of a panel that are multiplied with all blocks before the next ones are, so that they stay in a cache; which
/// one, kInputsAtOnce says. Between two such runs the sums lie in memory as unrounded floats.
template <class Tile>
int inputs_at_once(int padded_in) {
  const int runs = (padded_in + Tile::kInputsAtOnce - 1) / Tile::kInputsAtOnce;
  const int steps = padded_in / Tile::kStep;
  return (steps + runs - 1) / runs * Tile::kStep;
}

template <class Tile>
void pack_block(const PackTask& task) {
  Tile::pack(task);
  for (const LowRankTask& low_rank : task.low_rank) low_rank_rows<typename Tile::Element>(task, low_rank);
}

template <class Tile>
void product(const ProductTask& task) {
  [[maybe_unused]] const typename Tile::Scope scope;
  const int at_once = inputs_at_once<Tile>(task.padded_in);
  const int blocks = task.last_block - task.first_block;
  // Places for sums, used in turn. The tile before has its own while it is finished.
  const int places = 1 + (at_once < task.padded_in ? blocks : 1);
  int first_place = 0;
  Beside<Tile> beside(task);
  for (int panel = task.first_panel; panel < task.last_panel; ++panel) {
    const std::byte* w = task.panels + std::size_t(panel) * task.panel_bytes;
    beside.ahead = Ahead::of<Tile>(task, w, panel + 1 < task.last_panel ? w + task.panel_bytes : task.panel_after);
    for (int i = 0; i < task.padded_in; i += at_once) {
      const int inputs = task.padded_in - i < at_once ? task.padded_in - i : at_once;
      const std::byte* part = w + std::size_t(i) * Tile::kPanel * sizeof(typename Tile::Element);
      for (int block = task.first_block; block < task.last_block; ++block) {
        const int row = block * Tile::kBlock;
        const int rows = task.rows - row < Tile::kBlock ? task.rows - row : Tile::kBlock;
        const int packed_rows = Tile::kWholeBlocks ? Tile::kBlock : rows;
        const std::byte* x =
            task.x + std::size_t(block) * task.block_bytes + std::size_t(i) * packed_rows * Tile::kElementBytes;
        const int place = (first_place + block - task.first_block) % places;
        float* sums = task.sums + place * (Tile::kPanel * Tile::kBlock);
        if constexpr (Tile::kBeside) {
          Tile::run(rows, inputs, x, part, sums, i > 0, beside);
        } else {
          Tile::run(rows, inputs, x, part, sums, i > 0, beside.ahead);
        }
        if (i + inputs == task.padded_in) beside.finish_next({row, rows, panel * Tile::kPanel, sums});
      }
    }
    first_place = (first_place + blocks) % places;
  }
  beside.finish_last();
  if (task.y_uncached) streamed();
}

template <class Tile>
void tile(int rows, int inputs, const void* x, const void* panel, float* sums, bool resume) {
  [[maybe_unused]] const typename Tile::Scope scope;
  Ahead nothing;
  Tile::run(rows, inputs, static_cast<const std::byte*>(x), static_cast<const std::byte*>(panel), sums, resume,
            nothing);
}

template <class Tile>
constexpr ProductKernels product_table() {
  using Element = typename Tile::Element;
  return {Tile::kPanel,
          Tile::kBlock,
          Tile::kStep,
          Tile::kElementBytes,
          sizeof(Element) == 2 ? DType::bf16 : DType::f32,
          Tile::kCachedBlocks,
          Tile::kCachedPanels,
          pack_block<Tile>,
          product<Tile>,
          transpose_panel<Element, Tile::kPanel>,
          tile<Tile>};
}

}  // namespace tinylora::TINYLORA_ISA
