// z = x A^T and left = z R_k^T of one row (backward: s = dy B, left = s R_k), made by the block of kRowThreads threads
// that writes the row, or by low_rank.cu from a row that is there.
//
// Order, the same whoever makes the row: a thread takes every 256th group of eight neighbours, k ascending, then come
// lanes, then warps. It depends on k alone. kTogether sums of each task are taken at once; with a larger rank the row
// is gone through again. Bytes beside the row's own: rank k floats of A or B a task, from L2.
#pragma once

#include "group.cuh"
#include "reduce.cuh"

namespace tinylora::cuda {

constexpr int kTogether = 4;

/// sum += <values, elements i .. i + 7 of `right` [k]>.
__device__ inline float add_group(const LowRankArgs& args, const float* right, int i, const float (&values)[kGroup],
                                  float sum) {
  float factors[kGroup];
  load_group(args, right, i, factors);
#pragma unroll
  for (int e = 0; e < kGroup; ++e) sum = fmaf(values[e], factors[e], sum);
  return sum;
}

struct LowRankSums {
  float of_warp[kMaxTasks][kMaxRank][kRowThreads / 32];
  float inner[kMaxTasks][kMaxRank];
};

/// From the sums of the warps to z and left: thread (task, i) makes element i.
__device__ inline void finish_low_rank(const LowRankArgs& args, int64_t row, LowRankSums& sums) {
  const int own = static_cast<int>(threadIdx.x) / kMaxRank, i = static_cast<int>(threadIdx.x) % kMaxRank;
  __syncthreads();
#pragma unroll
  for (int t = 0; t < kMaxTasks; ++t) {
    const LowRankTask& task = args.task[t];
    if (t != own || t >= args.tasks || i >= task.rank) continue;
    float total = 0;
#pragma unroll
    for (int warp = 0; warp < kRowThreads / 32; ++warp) total += sums.of_warp[t][i][warp];
    sums.inner[t][i] = total;
    task.inner[row * task.rank + i] = total;
  }
  __syncthreads();
#pragma unroll
  for (int t = 0; t < kMaxTasks; ++t) {
    const LowRankTask& task = args.task[t];
    if (t != own || t >= args.tasks || i >= task.rank) continue;
    const int adapter = task.adapter[row];
    float left = 0;
    if (adapter >= 0) {
      const float* r = task.r + int64_t{adapter} * task.rank * task.rank;
      for (int j = 0; j < task.rank; ++j) {
        left = fmaf(args.backward ? r[j * task.rank + i] : r[i * task.rank + j], sums.inner[t][j], left);
      }
    }
    task.left[row * task.rank + i] = left;
  }
}

/// `group(i, first, values)` gives elements i .. i + 7 of the row; with `first` it is the first to ask for them, and
/// may make and store them. All threads of the block must call; the row is gone through once even without tasks.
template <class Group>
__device__ void low_rank_row(const LowRankArgs& args, int64_t row, const Group& group) {
  __shared__ LowRankSums sums;
  int most = 0;
#pragma unroll
  for (int t = 0; t < kMaxTasks; ++t) {
    if (t < args.tasks) most = max(most, args.task[t].rank);
  }
  for (int first = 0; first == 0 || first < most; first += kTogether) {
    float sum[kMaxTasks][kTogether] = {};
    for (int i = static_cast<int>(threadIdx.x) * kGroup; i < args.k; i += kRowThreads * kGroup) {
      float values[kGroup];
      group(i, first == 0, values);
#pragma unroll
      for (int t = 0; t < kMaxTasks; ++t) {
        const LowRankTask& task = args.task[t];
        if (t >= args.tasks) break;
#pragma unroll
        for (int j = 0; j < kTogether; ++j) {
          if (first + j >= task.rank) break;
          sum[t][j] = add_group(args, task.right + int64_t{first + j} * args.k, i, values, sum[t][j]);
        }
      }
    }
#pragma unroll
    for (int t = 0; t < kMaxTasks; ++t) {
      if (t >= args.tasks) break;
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        if (first + j >= args.task[t].rank) break;
        const float total = warp_sum(sum[t][j]);
        if (threadIdx.x % 32 == 0) sums.of_warp[t][first + j][threadIdx.x / 32] = total;
      }
    }
  }
  if (args.tasks > 0) finish_low_rank(args, row, sums);
}

}  // namespace tinylora::cuda
