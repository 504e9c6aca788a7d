// A token of each row whose distribution is not cut, from the statistics of the chunks (head.cu): a block a row adds
// them up, finds the chunk in which the draw falls (greedy: the first that holds the maximum), makes that chunk's
// logits again, and draws inside it. logp and entropy are made of the sums of head_total.cuh: the bits of the head op.
#pragma once

#include "head.h"
#include "head_total.cuh"
#include "philox.cuh"
#include "warp.cuh"

namespace tinylora::cuda {

struct DrawnPlace {
  int chunk;
  double left;  // of the draw, once the chunks before are taken off, in units of e^(largest)
};

/// The chunk in which `left` falls; where rounding leaves none, the last that has any mass. By one thread.
__device__ inline DrawnPlace drawn_chunk(const ChunkStats* stats, int chunks, const TotalScratch& scratch,
                                         double left) {
  const int run_length = chunks_of_run(chunks);
  double sum = 0;
  DrawnPlace drawn = {0, left};
  for (int run = 0; run < kTotalRuns; ++run) {
    if (scratch.sums[run] == 0) continue;
    const bool here = sum + scratch.sums[run] > left;
    double before = sum;
    sum += scratch.sums[run];
    for (int c = run * run_length; c < min(chunks, (run + 1) * run_length); ++c) {
      const double mass = chunk_mass(stats[c], scratch.total.largest);
      if (mass == 0) continue;
      drawn = {c, left - before};
      before += mass;
      if (here && before > left) return drawn;
    }
    if (here) return drawn;  // the run's sum and its parts round differently
  }
  return drawn;
}

/// The first chunk that holds the largest l.
__device__ inline int first_largest(const ChunkStats* stats, int chunks, float largest) {
  __shared__ int found;
  if (threadIdx.x == 0) found = chunks;
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < chunks; c += static_cast<int>(blockDim.x)) {
    if (stats[c].largest == largest) atomicMin(&found, c);
  }
  __syncthreads();
  return found;
}

/// Of l [count], a token with l = largest, the first. By one warp.
__device__ inline int most_likely(const float* l, int count, float largest) {
  for (int from = 0; from < count; from += 32) {
    const int token = from + static_cast<int>(threadIdx.x % 32);
    const unsigned at = __ballot_sync(kWholeWarp, token < count && l[token] == largest);
    if (at != 0) return from + __ffs(static_cast<int>(at)) - 1;
  }
  return 0;
}

/// Of l [count], the first token whose running sum of e^(l - largest) passes `left`; where rounding leaves none, the
/// last of any mass. By one warp: a lane owns four neighbours.
__device__ inline int draw_in_chunk(const float* l, int count, float largest, double left) {
  constexpr int kOwn = kVocabChunk / 32;
  const int lane = static_cast<int>(threadIdx.x % 32);
  double mass[kOwn], up_to = 0;
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    const int token = lane * kOwn + j;
    mass[j] = token < count ? static_cast<double>(expf(l[token] - largest)) : 0.0;
    up_to += mass[j];
  }
  const double own = up_to;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const double other = __shfl_up_sync(kWholeWarp, up_to, step);
    if (lane >= step) up_to += other;
  }
  double before = __shfl_up_sync(kWholeWarp, up_to, 1);
  if (lane == 0) before = 0;

  const unsigned passed = __ballot_sync(kWholeWarp, own > 0 && up_to > left);
  const unsigned any = __ballot_sync(kWholeWarp, own > 0);
  const int owner = passed != 0 ? __ffs(static_cast<int>(passed)) - 1 : 31 - __clz(static_cast<int>(any));
  int token = 0;
#pragma unroll
  for (int j = 0; j < kOwn; ++j) {
    if (mass[j] == 0 || (j > 0 && before > left)) continue;
    token = lane * kOwn + j;
    before += mass[j];
  }
  return __shfl_sync(kWholeWarp, token, owner);
}

/// logits(row, token) gives where the block leaves x W^T of the row, tokens token .. token + kVocabChunk - 1, in shared
/// memory, with the bits of head_stats.
template <class Logits>
__device__ void head_sample(const HeadSampleTask& task, const Logits& logits) {
  __shared__ TotalScratch scratch;
  __shared__ DrawnPlace place;
  const int row = static_cast<int>(blockIdx.x);
  const SampleRow how = task.how[row];
  const bool greedy = !(how.temperature > 0);
  if (task.kept[row] >= 0) return;  // truncated_draw.cu

  const int chunks = (task.product.vocab + kVocabChunk - 1) / kVocabChunk;
  const ChunkStats* stats = task.stats + static_cast<long long>(row) * chunks;
  const RowTotal total = row_total(stats, chunks, scratch);
  if (!isfinite(total.sum) || !isfinite(total.largest)) {
    if (threadIdx.x == 0) no_token(task, row);
    return;
  }
  if (threadIdx.x == 0) task.entropy[row] = total.entropy();  // here, so that the tile need not keep what it is made of
  if (greedy) {
    const int chunk = first_largest(stats, chunks, total.largest);
    if (threadIdx.x == 0) place = {chunk, 0};
  } else if (threadIdx.x == 0) {
    place = drawn_chunk(stats, chunks, scratch, sampling_uniform(how.seed, how.sequence, how.position) * total.sum);
  }
  __syncthreads();

  const int first = place.chunk * kVocabChunk, count = min(kVocabChunk, task.product.vocab - first);
  float* l = logits(row, first);
  if (threadIdx.x >= 32) return;
  const float scale = task.inv_temperature[row];
  for (int i = static_cast<int>(threadIdx.x); i < count; i += 32) l[i] *= scale;
  __syncwarp();
  const int token = greedy ? most_likely(l, count, total.largest) : draw_in_chunk(l, count, total.largest, place.left);
  if (threadIdx.x != 0) return;
  task.token[row] = first + token;
  task.logp[row] = total.logp(l[token]);
}

}  // namespace tinylora::cuda
