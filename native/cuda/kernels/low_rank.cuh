// z = x A^T and left = z R_k^T (backward: s = dy B, left = s R_k) of the rows of one tile (row_tile.cuh), made by the
// block that writes them, or by low_rank.cu from rows that are there.
//
// Order: that of row_tile.cuh, of each chain the parts ascending, then the 4 chains in a butterfly; the same whoever
// makes the row and in whatever tile. kTogether sums of each task are taken at once; with a larger rank the row is gone
// through again. Bytes beside the row's own: rank k floats of A or B a task and block, from L2; a tall block asks for
// them once for its 16 rows.
#pragma once

#include "group.cuh"
#include "row_tile.cuh"

namespace tinylora::cuda {

constexpr int kTogether = 2;

/// The same pointer, which the compiler then keeps as it is: it adds one offset a load, not all that the pointer is of.
__device__ inline const float* hold(const float* pointer) {
  asm("" : "+l"(pointer));
  return pointer;
}

template <class Tile>
struct LowRankSums {
  static constexpr int kLanes = Tile::kThreads / kParts;         // that share a part
  float of_chain[Tile::kOwned * kTogether][kParts + 1][kLanes];  // one more part: values lie in banks of their own
  float inner[kMaxTasks][kMaxRank][Tile::kRows];
};

/// Elements first .. first + kTogether - 1 of z of one task: a thread adds one chain's parts, then come the chains.
template <class Tile>
__device__ void add_parts(const LowRankArgs& args, const LowRankTask& task, LowRankSums<Tile>& sums,
                          float (&inner)[kMaxRank][Tile::kRows], int first) {
  constexpr int kLanes = LowRankSums<Tile>::kLanes, kValues = Tile::kOwned * kTogether;
  static_assert(kLanes * kValues % 32 == 0 || kLanes * kValues < 32);
  if (threadIdx.x >= max(32, kLanes * kValues)) return;
  const int lane = static_cast<int>(threadIdx.x % kLanes), value = static_cast<int>(threadIdx.x / kLanes) % kValues;
  float total = 0;
#pragma unroll 8
  for (int part = 0; part < kParts; ++part) total += sums.of_chain[value][part][lane];
  total = chain_sum(total);
  const int row = lane / kChains + 8 * (value % Tile::kOwned), i = first + value / Tile::kOwned;
  if (threadIdx.x % kChains != 0 || i >= task.rank || threadIdx.x >= kLanes * kValues) return;
  const int m = Tile::first_row() + row;
  inner[i][row] = total;
  if (m < args.rows) task.inner[int64_t{m} * task.rank + i] = total;
}

/// left of the tile's rows: thread (task, i, row) makes element i.
template <class Tile>
__device__ void finish_low_rank(const LowRankArgs& args, const LowRankSums<Tile>& sums) {
  static_assert(kMaxTasks * kMaxRank * Tile::kRows <= Tile::kThreads);
  const int own = static_cast<int>(threadIdx.x) / (kMaxRank * Tile::kRows);
  const int i = static_cast<int>(threadIdx.x) / Tile::kRows % kMaxRank;
  const int row = static_cast<int>(threadIdx.x) % Tile::kRows, m = Tile::first_row() + row;
  LowRankTask task = args.task[0];
#pragma unroll
  for (int t = 1; t < kMaxTasks; ++t) {
    if (t == own) task = args.task[t];
  }
  if (own >= args.tasks || i >= task.rank || m >= args.rows) return;
  const int adapter = task.adapter[m];
  float left = 0;
  if (adapter >= 0) {
    const float* r = task.r + int64_t{adapter} * task.rank * task.rank;
#pragma unroll 1
    for (int j = 0; j < task.rank; ++j) {
      left = fmaf(args.backward ? r[j * task.rank + i] : r[i * task.rank + j], sums.inner[own][j][row], left);
    }
  }
  task.left[int64_t{m} * task.rank + i] = left;
}

/// Goes through the tile's rows: elements first .. first + kTogether - 1 of z of each of kTasks tasks.
template <class Tile, bool kWide, int kSets, int kTasks, class Make>
__device__ void add_rows(const LowRankArgs& args, LowRankSums<Tile>& sums, int first, const Make& make) {
  constexpr int kOwned = Tile::kOwned, kUnroll = kWide ? Tile::kUnroll : 1;
  const Groups<kWide> groups{args.k};
  // A sum past a task's rank, or past the tasks, is one of another row of factors, and is not used.
  const int64_t from = int64_t{first} * args.k;
  const float* right[kTasks + 1][kTogether];
  float sum[kTasks + 1][kTogether][kOwned] = {};
#pragma unroll
  for (int t = 0; t < kTasks; ++t) {
    const LowRankTask& task = args.task[t < args.tasks ? t : 0];
    static_assert(kTogether == 2);
    right[t][0] = hold(task.right + (first < task.rank ? from : 0));
    right[t][1] = hold(right[t][0] + (first + 1 < task.rank ? args.k : 0));
  }
  // Nor is a sum of a row past the last, which is that of the last again.
  Place place[kOwned];
#pragma unroll
  for (int i = 0; i < kOwned; ++i) {
    const int m = Tile::first_row() + Tile::own(i);
    place[i].real = !Tile::kTall || m < args.rows;
    place[i].m = place[i].real ? m : args.rows - 1;
    place[i].at = int64_t{place[i].m} * args.k + Tile::column();
  }
#pragma unroll(kUnroll)
  for (int column = Tile::column(); column < args.k; column += kSweep) {
    float values[kOwned][kSets][kGroup];
#pragma unroll
    for (int i = 0; i < kOwned; ++i) {
      place[i].column = column;
      make(groups, place[i], first == 0, values[i]);
      place[i].at += kSweep;
    }
#pragma unroll
    for (int t = 0; t < kTasks; ++t) {
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        // Single elements of all factors at once would be more than there are registers.
        if constexpr (!kWide) asm volatile("" ::: "memory");
        float factors[kGroup];
        groups.load_fixed(right[t][j] + column, column, factors);
#pragma unroll
        for (int i = 0; i < kOwned; ++i) {
#pragma unroll
          for (int e = 0; e < kGroup; ++e) {
            sum[t][j][i] = fmaf(values[i][kSets == 1 ? 0 : t][e], factors[e], sum[t][j][i]);
          }
        }
      }
    }
  }
  if constexpr (kTasks > 0) {
#pragma unroll
    for (int t = 0; t < kTasks; ++t) {
      if (t >= args.tasks) break;
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
#pragma unroll
        for (int i = 0; i < kOwned; ++i) {
          sums.of_chain[j * kOwned + i][Tile::part()][threadIdx.x % LowRankSums<Tile>::kLanes] = sum[t][j][i];
        }
      }
      __syncthreads();
      add_parts(args, args.task[t], sums, sums.inner[t], first);
      __syncthreads();
    }
  }
}

/// add_rows for args.tasks, at most kMost.
template <class Tile, int kSets, int kMost, class Make>
__device__ void add_rows(const LowRankArgs& args, LowRankSums<Tile>& sums, int first, const Make& make) {
  if (!args.vector) {
    if (args.tasks == 0) return add_rows<Tile, false, kSets, 0>(args, sums, first, make);
    return add_rows<Tile, false, kSets, kMost>(args, sums, first, make);
  }
  if (args.tasks == 0) return add_rows<Tile, true, kSets, 0>(args, sums, first, make);
  if constexpr (kSets == 1 && kMost > 1) {
    if (args.tasks == 1) return add_rows<Tile, true, kSets, 1>(args, sums, first, make);
    if (args.tasks == 2) return add_rows<Tile, true, kSets, 2>(args, sums, first, make);
    if (args.tasks == 3) return add_rows<Tile, true, kSets, 3>(args, sums, first, make);
  }
  add_rows<Tile, true, kSets, kMost>(args, sums, first, make);
}

/// `make(groups, place, first, values)` gives the elements of a place, of kSets matrices, by Groups; with `first` it is
/// the first to ask for them, and may make and, where the row is real, store them. With one matrix it is that of all
/// tasks, at most kMost, 1 or kMaxTasks; else task t is of matrix t. All threads of the block must call; the rows are
/// gone through once even without tasks.
template <class Tile, int kSets, int kMost, class Make>
__device__ void low_rank_rows(const LowRankArgs& args, const Make& make) {
  __shared__ LowRankSums<Tile> sums;
  static_assert(kSets == 1 ? kMost == 1 || kMost == kMaxTasks : kSets == kMost);
  int most = 0;
#pragma unroll
  for (int t = 0; t < kMaxTasks; ++t) {
    if (t < args.tasks) most = max(most, args.task[t].rank);
  }
#pragma unroll 1
  for (int first = 0; first == 0 || first < most; first += kTogether) {
    add_rows<Tile, kSets, kMost>(args, sums, first, make);
  }
  if (args.tasks > 0) finish_low_rank(args, sums);
}

}  // namespace tinylora::cuda
