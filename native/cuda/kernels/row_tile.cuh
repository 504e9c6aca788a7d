// How a block takes whole rows of k elements, in two shapes that give every sum over a row the same bits:
//
//   flat  1 row     128 threads, the row's chains side by side: few rows, as many blocks as there are rows
//   tall  16 rows   512 threads, a warp's chains those of 16 rows: what depends on the column alone (gains, factors of
//                   updates) is asked for once by 16 rows, half a sector to none
//
// Order of a sum over a row: the columns are dealt out in groups of four neighbours, in turn to 128 chains, 4 to each
// of 32 parts; a chain goes through its groups ascending; the chains are then added in an order of the kernel's own, by
// part and chain. It depends on k alone, in neither shape on anything else. A warp of a tall block has two
// parts in turn, its lanes being 8 rows x 4 chains, twice; a part is 4 neighbouring lanes of a flat one.
// Flat kernels are bound to (kFlatThreads, 1): without the 1 ptxas spills to keep to 64 registers a thread. Tall ones
// are bound to two blocks a multiprocessor (64 registers), or to three (40) where ptxas need not spill for it.
#pragma once

#include "low_rank.h"

namespace tinylora::cuda {

constexpr int kParts = 32;
constexpr int kChains = 4;                         // of a part
constexpr int kSweep = kParts * kChains * kGroup;  // columns that all chains take together
static_assert(kFlatThreads == kParts * kChains && 32 * kParts % kTallThreads == 0 && kTallRows % 8 == 0);

template <bool kTall_>
struct RowTile {
  static constexpr bool kTall = kTall_;
  static constexpr int kThreads = kTall ? kTallThreads : kFlatThreads;
  static constexpr int kRows = kTall ? kTallRows : 1;
  static constexpr int kOwned = kTall ? kTallRows / 8 : 1;           // rows of one thread
  static constexpr int kTurns = kTall ? 32 * kParts / kThreads : 1;  // parts of one thread
  static constexpr int kTurn = kSweep / kTurns;                      // columns from one to the next
  static constexpr int kUnroll = kTall ? 1 : 4;  // groups that a thread of few should ask for at once

  static __device__ int part(int turn = 0) {
    return static_cast<int>(threadIdx.x / (kTall ? 32 : kChains)) + turn * (kParts / kTurns);
  }
  /// The thread's first column of its first part; the next are kSweep apart.
  static __device__ int column() { return (part() * kChains + static_cast<int>(threadIdx.x % kChains)) * kGroup; }
  /// The thread's i-th row within the tile.
  static __device__ int own(int i) { return kTall ? static_cast<int>(threadIdx.x % 32 / kChains) + 8 * i : 0; }
  static __device__ int first_row() { return static_cast<int>(blockIdx.x) * kRows; }
  /// True in one of the threads that share a part and a row: it writes their common result.
  static __device__ bool speaks() { return threadIdx.x % kChains == 0; }
};

using Flat = RowTile<false>;
using Tall = RowTile<true>;

/// The sum over the chains of a part, the same bits in each.
__device__ inline float chain_sum(float value) {
#pragma unroll
  for (int step = kChains / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffU, value, step);
  return value;
}

}  // namespace tinylora::cuda
