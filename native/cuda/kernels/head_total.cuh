// From the statistics of a row's chunks to those of the row, by one block: used by scoring and by sampling, so that a
// log-probability has the same bits in both. The order of the sums depends on the number of chunks alone.
#pragma once

#include "head.h"
#include "warp.cuh"

namespace tinylora::cuda {

/// Over the whole vocabulary: the largest l, sum e^(l - largest), sum e^(l - largest) (l - largest).
struct RowTotal {
  float largest;
  double sum;
  double weighted;

  __device__ float logp(float l) const {
    return static_cast<float>(static_cast<double>(l) - static_cast<double>(largest) - log(sum));
  }
  __device__ float lse() const { return static_cast<float>(static_cast<double>(largest) + log(sum)); }
  __device__ float entropy() const { return static_cast<float>(log(sum) - weighted / sum); }
};

/// The row's logits are not finite.
__device__ inline void no_token(const HeadSampleTask& task, int row) {
  task.token[row] = -1;
  task.logp[row] = task.entropy[row] = __int_as_float(0x7fc00000);
}

/// Shared memory of row_total.
struct TotalScratch {
  float largest[32];        // of each warp
  double sums[kTotalRuns];  // of each run of chunks
  double weighted[kTotalRuns];
  RowTotal total;
};

__device__ inline int chunks_of_run(int chunks) { return (chunks + kTotalRuns - 1) / kTotalRuns; }

/// e^(largest of the chunk - largest of all) times its sum.
__device__ inline double chunk_mass(const ChunkStats& stats, float largest) {
  return static_cast<double>(expf(stats.largest - largest)) * static_cast<double>(stats.sum);
}

/// Of chunks [chunks], in every thread; scratch.sums keeps the mass of each run. Any number of warps.
__device__ inline RowTotal row_total(const ChunkStats* stats, int chunks, TotalScratch& scratch) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  // NaN must not get lost in a maximum: it would be drawn from.
  float largest = stats[0].largest;
  bool defined = true;
  for (int c = thread; c < chunks; c += threads) {
    largest = fmaxf(largest, stats[c].largest);
    defined = defined && stats[c].sum == stats[c].sum;
  }
  largest = warp_max(largest);
  if (thread % 32 == 0) scratch.largest[thread / 32] = largest;
  defined = __syncthreads_and(defined) != 0;
  for (int warp = 0; warp < threads / 32; ++warp) largest = fmaxf(largest, scratch.largest[warp]);

  const int length = chunks_of_run(chunks);
  for (int run = thread; run < kTotalRuns; run += threads) {
    double sum = 0, weighted = 0;
    for (int c = run * length; c < min(chunks, (run + 1) * length); ++c) {
      const double weight = static_cast<double>(expf(stats[c].largest - largest));
      // A chunk of weight zero may be infinitely far below.
      const double below = weight == 0 ? 0 : static_cast<double>(stats[c].largest) - static_cast<double>(largest);
      sum += chunk_mass(stats[c], largest);
      weighted += weight * (static_cast<double>(stats[c].weighted) + below * static_cast<double>(stats[c].sum));
    }
    scratch.sums[run] = sum;
    scratch.weighted[run] = weighted;
  }
  __syncthreads();
  if (thread == 0) {
    RowTotal total = {largest, 0, 0};
    for (int i = 0; i < kTotalRuns; ++i) {
      total.sum += scratch.sums[i];
      total.weighted += scratch.weighted[i];
    }
    if (!defined) total.sum = static_cast<double>(__int_as_float(0x7fc00000));
    scratch.total = total;
  }
  __syncthreads();
  return scratch.total;
}

}  // namespace tinylora::cuda
