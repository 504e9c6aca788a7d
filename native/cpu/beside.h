// What a thread does beside the dot products of a tile, a little at every step of theirs: it finishes the tile before
// and asks for the panel after. Where dot products take the vector units themselves (kBeside is false), every tile is
// finished at once.
#pragma once

#include "cpu/epilogue.h"
#include "cpu/product_kernels.h"

namespace tinylora::TINYLORA_ISA {

template <class Tile>
class Beside {
 public:
  /// A tile whose sums are complete.
  struct Summed {
    int row, rows, column;
    const float* sums;
  };

  explicit Beside(const ProductTask& task) : task_(task) {}

  /// The panel that comes after the one whose tiles are about to be multiplied. It comes into the second-level cache: a
  /// few lines a step, since a burst of them would keep the loads of tiles waiting.
  void ask_for(const std::byte* panel) {
    next_ = panel;
    end_ = panel + task_.panel_bytes;
  }

  void operator()() {
    finish_rows(kRowsAStep);
    for (int i = 0; i < lines_a_step_ && next_ < end_; ++i, next_ += kLine) __builtin_prefetch(next_, 0, 2);
  }

  void finish_next(const Summed& tile) {
    finish_last();
    tile_ = tile;
    if constexpr (!Tile::kBeside) finish_last();
  }
  void finish_last() { finish_rows(tile_.rows); }

 private:
  static constexpr int kRowsAStep = 2;
  static constexpr int kLine = 64;
  static constexpr int kLinesOfStep =
      Tile::kStep * Tile::kPanel * static_cast<int>(sizeof(typename Tile::Element)) / kLine;

  /// A tile of 16 rows is read so fast that the processor runs far enough ahead by itself.
  static int lines_a_step(const ProductTask& task) {
    const int blocks = task.last_block - task.first_block;
    return task.panels_cached || task.rows <= 16 ? 0 : (kLinesOfStep + blocks - 1) / blocks;
  }

  void finish_rows(int most) {
    const int rows = tile_.rows < most ? tile_.rows : most;
    if (rows == 0) return;
    finish_tile<Tile>(task_, tile_.row, rows, tile_.column, tile_.sums);
    tile_.row += rows;
    tile_.rows -= rows;
    tile_.sums += rows * Tile::kPanel;
  }

  const ProductTask& task_;
  Summed tile_{};
  const std::byte* next_ = nullptr;
  const std::byte* end_ = nullptr;
  const int lines_a_step_ = lines_a_step(task_);
};

}  // namespace tinylora::TINYLORA_ISA
