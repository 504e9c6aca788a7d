// z = x A^T and left = z R_k^T (backward: s = dy B, left = s R_k) of the rows of one tile (row_tile.cuh), made by the
// block that writes them, or by low_rank.cu from rows that are there. z comes from tensor cores where rows are of 16 bits
// (low_rank_half.cuh), else from fused multiply-adds (low_rank_f32.cuh); its order is the same whoever makes the row and
// in whatever tile.
#pragma once

#include "low_rank_f32.cuh"
#include "low_rank_half.cuh"

namespace tinylora::cuda {

/// left of the tile's rows: of each task a thread an element and row. Elements of z as the two kinds leave them in
/// `inner`: kStride numbers an element, one a row; kTogether: elements of all tasks in turn, else kMaxRank a task.
template <class Tile, int kMost, int kStride, bool kTogether>
__device__ void finish_low_rank(const LowRankArgs& args, const float* inner) {
  constexpr int kOfTask = kMaxRank * Tile::kRows;
  static_assert(kMost * kOfTask <= Tile::kThreads);
#pragma unroll
  for (int t = 0; t < kMost; ++t) {
    const LowRankTask& task = args.task[t];
    const int own = static_cast<int>(threadIdx.x) - t * kOfTask;
    if (own >= 0 && own < task.rank * Tile::kRows) {
      const int i = own / Tile::kRows, row = own % Tile::kRows, m = Tile::first_row() + row;
      const int adapter = m < args.rows ? task.adapter[m] : -1;
      float left = 0;
      if (adapter >= 0) {
        const float* r = task.r + int64_t{adapter} * task.rank * task.rank;
#pragma unroll 1
        for (int j = 0; j < task.rank; ++j) {
          const float factor = args.backward ? r[j * task.rank + i] : r[i * task.rank + j];
          left = fmaf(factor, inner[j * kStride + row], left);
        }
      }
      if (m < args.rows) task.left[int64_t{m} * task.rank + i] = left;
    }
    inner += (kTogether ? task.rank : kMaxRank) * kStride;
  }
}

/// `make(groups, place, first, words)` gives the elements of a place, of kSets matrices, by Groups; with `first` it is
/// the first to ask for them, and may make and, where the row is real, store them. With one matrix it is that of all
/// tasks, at most kMost, 1 or kMaxTasks; else task t is of matrix t. All threads of the block must call; the rows are
/// gone through once even without tasks. Act: what the rows hold.
template <typename Act, class Tile, int kSets, int kMost, class Make>
__device__ void low_rank_rows(const LowRankArgs& args, const Make& make) {
  static_assert(kSets == 1 ? kMost == 1 || kMost == kMaxTasks : kSets == kMost);
  constexpr bool kFloat = std::is_same_v<Act, float>;
  constexpr int kStride = Tile::kTall ? Tile::kRows + 4 : 1;  // rows of eight elements lie in banks of their own
  __shared__ float inner[kMaxTasks * kMaxRank * kStride];
  if constexpr (kFloat) {
    add_float_row<kSets, kMost>(args, inner, make);
  } else {
    add_half_rows<Act, Tile, kSets, kMost, kStride>(args, inner, make);
  }
  if (args.tasks > 0) finish_low_rank<Tile, kMost, kStride, !kFloat && kSets == 1>(args, inner);
}

}  // namespace tinylora::cuda
