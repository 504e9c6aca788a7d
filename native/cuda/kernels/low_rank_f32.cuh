// z = x A^T of one row of floats, by fused multiply-adds (low_rank.cuh).
//
// Order: that of row_tile.cuh, of each chain the parts ascending, then the 4 chains in a butterfly. kTogether sums of
// each task are taken at once; with a larger rank the row is gone through again. Bytes beside the row's own: rank k
// floats of A or B a task and row, from L2.
#pragma once

#include "group.cuh"
#include "row_tile.cuh"

namespace tinylora::cuda {

constexpr int kTogether = 2;

/// The same pointer, hidden from the compiler's analysis: a load then adds one offset to it, and does not compute it
/// again from its parts.
__device__ inline const float* hold(const float* pointer) {
  asm("" : "+l"(pointer));
  return pointer;
}

/// One part more than there are, so that what a warp reads lies in different banks.
using FloatSums = float[kTogether][kParts + 1][kChains];

/// Elements first .. first + kTogether - 1 of z of one task: a thread adds one chain's parts, then come the chains.
__device__ inline void add_parts(const LowRankTask& task, const FloatSums& sums, float* inner, int first) {
  if (threadIdx.x >= 32) return;
  const int chain = static_cast<int>(threadIdx.x % kChains), i = static_cast<int>(threadIdx.x / kChains) % kTogether;
  float total = 0;
#pragma unroll 8
  for (int part = 0; part < kParts; ++part) total += sums[i][part][chain];
  total = chain_sum(total);
  if (chain != 0 || first + i >= task.rank || threadIdx.x >= kChains * kTogether) return;
  inner[first + i] = total;
  task.inner[int64_t{blockIdx.x} * task.rank + first + i] = total;
}

/// Goes through the row: elements first .. first + kTogether - 1 of z of each of kTasks tasks, at most args.tasks.
/// inner [kMaxTasks * kMaxRank]: kMaxRank a task.
template <bool kWide, int kSets, int kTasks, class Make>
__device__ __forceinline__ void add_row(const LowRankArgs& args, FloatSums& sums, float* inner, int first,
                                        const Make& make) {
  constexpr int kUnroll = kWide ? Flat::kUnroll : 1;
  const Groups<kWide> groups{args.k};
  // A sum past a task's rank, or past the tasks, is one of another row of factors, and is not used.
  const int64_t from = int64_t{first} * args.k;
  const float* right[kTasks + 1][kTogether];
  float sum[kTasks + 1][kTogether] = {};
#pragma unroll
  for (int t = 0; t < kTasks; ++t) {
    const LowRankTask& task = args.task[t < args.tasks ? t : 0];
    static_assert(kTogether == 2);
    right[t][0] = hold(static_cast<const float*>(task.right) + (first < task.rank ? from : 0));
    right[t][1] = hold(right[t][0] + (first + 1 < task.rank ? args.k : 0));
  }
  const int m = static_cast<int>(blockIdx.x);
  const int64_t row = int64_t{m} * args.k;
#pragma unroll(kUnroll)
  for (int column = Flat::column(); column < args.k; column += kSweep) {
    float4 words[kSets];
    make(groups, Place{m, column, row + column, true}, first == 0, words);
#pragma unroll
    for (int t = 0; t < kTasks; ++t) {
      float values[kGroup];
      unpack(words[kSets == 1 ? 0 : t], right[t][0], values);
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        // Single elements of all factors at once would be more than there are registers.
        if constexpr (!kWide) asm volatile("" ::: "memory");
        float factors[kGroup];
        groups.load_fixed(right[t][j] + column, column, factors);
#pragma unroll
        for (int e = 0; e < kGroup; ++e) sum[t][j] = fmaf(values[e], factors[e], sum[t][j]);
      }
    }
  }
  if constexpr (kTasks > 0) {
#pragma unroll
    for (int t = 0; t < kTasks; ++t) {
      if (t >= args.tasks) break;
#pragma unroll
      for (int j = 0; j < kTogether; ++j) sums[j][Flat::part()][threadIdx.x % kChains] = sum[t][j];
      __syncthreads();
      add_parts(args.task[t], sums, inner + t * kMaxRank, first);
      __syncthreads();
    }
  }
}

/// add_row for args.tasks, at most kMost, over all ranks.
template <int kSets, int kMost, class Make>
__device__ __forceinline__ void add_float_row(const LowRankArgs& args, float* inner, const Make& make) {
  __shared__ FloatSums sums;
  int most = 0;
#pragma unroll
  for (int t = 0; t < kMaxTasks; ++t) {
    if (t < args.tasks) most = max(most, args.task[t].rank);
  }
#pragma unroll 1
  for (int first = 0; first == 0 || first < most; first += kTogether) {
    if (args.tasks == 0) {
      args.vector ? add_row<true, kSets, 0>(args, sums, inner, first, make)
                  : add_row<false, kSets, 0>(args, sums, inner, first, make);
    } else {
      args.vector ? add_row<true, kSets, kMost>(args, sums, inner, first, make)
                  : add_row<false, kSets, kMost>(args, sums, inner, first, make);
    }
  }
}

}  // namespace tinylora::cuda
