// z = x A^T and left = z R_k^T (backward: s = dy B, left = s R_k) of the rows of one tile (row_tile.cuh), made by the
// block that writes them, or by low_rank.cu from rows that are there. z comes from tensor cores where rows are of 16
// bits (low_rank_half.cuh), else from fused multiply-adds (low_rank_f32.cuh); its order is the same whoever makes the
// row and in whatever tile.
#pragma once

#include "low_rank_f32.cuh"
#include "low_rank_half.cuh"

namespace tinylora::cuda {

/// left of the tile's rows, a thread an element and row at a time, from z in `inner`: kStride numbers an element, one a
/// row. With one set the `elements` of all tasks follow one another there; else each task has kMaxRank places.
template <class Tile, int kSets, int kMost, int kStride>
__device__ void finish_low_rank(const LowRankArgs& args, const float* inner, int elements) {
  const int row = static_cast<int>(threadIdx.x % Tile::kRows), m = Tile::first_row() + row;
  if (m >= args.rows) return;
#pragma unroll 1
  for (int place = static_cast<int>(threadIdx.x / Tile::kRows); place < elements;
       place += Tile::kThreads / Tile::kRows) {
    const Element element =
        kSets == 1 ? find_element<1, kMost>(args, 0, place) : Element{place / kMaxRank, place % kMaxRank};
    const LowRankTask task = task_of<kMost>(args, element.task);
    if (element.i >= task.rank) continue;
    const int adapter = task.adapter[m];
    float left = 0;
    if (adapter >= 0) {
      const float* r = task.r + int64_t{adapter} * task.rank * task.rank;
#pragma unroll 1
      for (int j = 0; j < task.rank; ++j) {
        const float factor = args.backward ? r[j * task.rank + element.i] : r[element.i * task.rank + j];
        left = fmaf(factor, inner[(place - element.i + j) * kStride + row], left);
      }
    }
    task.left[int64_t{m} * task.rank + element.i] = left;
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
    if (args.tasks > 0) finish_low_rank<Tile, kMaxTasks, kMost, kStride>(args, inner, kMost * kMaxRank);
  } else {
    const int elements = add_half_rows<Act, Tile, kSets, kMost, kStride>(args, inner, make);
    if (args.tasks > 0)
      finish_low_rank<Tile, kSets, kMost, kStride>(args, inner, kSets == 1 ? elements : kSets * kMaxRank);
  }
}

}  // namespace tinylora::cuda
