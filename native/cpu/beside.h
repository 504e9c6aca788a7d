// What a thread does beside the dot products of a tile, a little at every step of theirs: it asks for the panel after,
// and finishes the tile before. Where dot products take the vector units themselves (kBeside is false), every tile is
// finished at once.
#pragma once

#include "cpu/ahead.h"
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

  Ahead ahead;

  void operator()() {
    finish_rows(kRowsAStep);
    ahead();
  }

  void finish_next(const Summed& tile) {
    finish_last();
    tile_ = tile;
    if constexpr (!Tile::kBeside) finish_last();
  }
  void finish_last() { finish_rows(tile_.rows); }

 private:
  static constexpr int kRowsAStep = 2;

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
};

}  // namespace tinylora::TINYLORA_ISA
