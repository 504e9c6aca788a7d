// z = out A^T and left = z R_k^T of the product that reads attention's output (o_proj), made by the warps that write it.
//
// A row's H heads come from different blocks, so z is made in two steps. The warp that has rounded a query's D numbers
// multiplies them by its head's columns of A, and leaves the sums, [M, H, rank]. Each warp then counts its queries as
// arrived, by an integer atomic a query; the warp that brings a row's last head adds up the parts, and leaves the count
// at zero for the next launch. Which warp that is changes no bit: it reads all parts from memory, in one order.
//
// Order: of a head 32 chains of fmaf, chain L of columns 2 L and 2 L + 1 of each 64, ascending, then the chains in a
// butterfly, those 16 apart first; of a row the parts of heads L, L + 32, ... ascending in lane L, then the lanes in
// such a butterfly. It is the same in every kernel that writes out (attention_tile.cuh, attention_simt.cuh,
// attention_combine.cu).
// Bytes: rank D floats of A a query, from L2, which a warp of 16 queries asks for a head's once where they are of one
// head; 8 rank written and read for a part. Operations: rank D / 32 fmaf a lane and query.
#pragma once

#include "act.cuh"
#include "attention.h"
#include "warp.cuh"

namespace tinylora::cuda {

__device__ inline int row_of(const AttentionTask& task, long long query) {
  return static_cast<int>(static_cast<unsigned>(query) / static_cast<unsigned>(task.args.heads));
}
__device__ inline int head_of(const AttentionTask& task, long long query) {
  return static_cast<int>(static_cast<unsigned>(query) % static_cast<unsigned>(task.args.heads));
}

/// A row all of whose parts are there: its z and left, by one warp.
__device__ inline void finish_row(const AttentionTask& task, int row) {
  const AttentionUpdate& update = task.update;
  const int lane = static_cast<int>(threadIdx.x % 32), heads = task.args.heads, rank = update.rank;
  const float* parts = update.parts + static_cast<long long>(row) * heads * rank;
  float z = 0;  // element `lane`
#pragma unroll 1
  for (int i = 0; i < rank; ++i) {
    float sum = 0;
    for (int head = lane; head < heads; head += 32) sum += __ldcg(parts + head * rank + i);
    sum = warp_sum(sum);
    if (lane == i) z = sum;
  }
  const int adapter = update.adapter[row];
  const float* r = update.r + (static_cast<long long>(max(adapter, 0)) * rank + lane) * rank;
  float left = 0;
#pragma unroll 1
  for (int j = 0; j < rank; ++j) {
    const float right = __shfl_sync(kWholeWarp, z, j);
    if (adapter >= 0 && lane < rank) left = fmaf(r[j], right, left);
  }
  if (lane == 0) update.arrived[row] = 0;
  if (lane >= rank) return;
  update.z[static_cast<long long>(row) * rank + lane] = z;
  update.left[static_cast<long long>(row) * rank + lane] = left;
}

/// The parts of the warp's queries are stored. `query` in [M, H], another one in each lane; -1: none.
__device__ inline void arrive(const AttentionTask& task, long long query) {
  __syncwarp();
  __threadfence();  // what the warp has stored is there before the count says so
  const int row = row_of(task, query);
  const bool last = query >= 0 && atomicAdd(task.update.arrived + row, 1U) + 1 == static_cast<unsigned>(task.args.heads);
  unsigned lanes = __ballot_sync(kWholeWarp, last);
  if (lanes == 0) return;
  __threadfence();  // and the count is read before what others have stored
  for (; lanes != 0; lanes &= lanes - 1) {
    finish_row(task, __shfl_sync(kWholeWarp, row, __ffs(static_cast<int>(lanes)) - 1));
  }
}

/// The part of a query's z, from out as the warp has stored it.
template <typename T>
__device__ void add_part(const AttentionTask& task, long long query) {
  const AttentionUpdate& update = task.update;
  const int lane = static_cast<int>(threadIdx.x % 32), heads = task.args.heads, dim = task.args.head_dim;
  const T* out = static_cast<const T*>(task.args.out) + query * dim;
  const float* a = update.a + head_of(task, query) * dim;
  __syncwarp();  // the numbers of other lanes
#pragma unroll 1
  for (int i = 0; i < update.rank; ++i, a += heads * dim) {
    float sum = 0;
    for (int column = 2 * lane; column < dim; column += 64) {
      sum = fmaf(load(out + column), a[column], sum);
      if (column + 1 < dim) sum = fmaf(load(out + column + 1), a[column + 1], sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) update.parts[query * update.rank + i] = sum;
  }
}

/// The parts of two queries of 16-bit numbers, as the lanes of an mma's C fragment hold them: the four lanes t of a
/// quad columns 8 n + 2 t and 8 n + 2 t + 1 of both. A query that there is not is -1. All lanes of the warp must call.
template <typename Half, int kDim>
__device__ void add_parts(const AttentionTask& task, const long long (&query)[2],
                          const std::uint32_t (&out)[2][kDim / 8]) {
  constexpr int kChains = 8;  // that a lane has of the 32
  const AttentionUpdate& update = task.update;
  const int t = static_cast<int>(threadIdx.x % 4), heads = task.args.heads, dim = task.args.head_dim;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float* a = update.a + head_of(task, max(query[half], 0LL)) * dim + 2 * t;
#pragma unroll 1
    for (int i = 0; i < update.rank; ++i, a += heads * dim) {
      float chains[kChains] = {};
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        if (8 * n >= dim) continue;
        const float2 factor = *reinterpret_cast<const float2*>(a + 8 * n), value = pair_of<Half>(out[half][n]);
        float& chain = chains[n % kChains];
        chain = fmaf(value.y, factor.y, fmaf(value.x, factor.x, chain));
      }
#pragma unroll
      for (int step = kChains / 2; step > 0; step /= 2) {
#pragma unroll
        for (int s = 0; s < step; ++s) chains[s] += chains[s + step];
      }
      float sum = chains[0];
      sum += __shfl_xor_sync(kWholeWarp, sum, 2);
      sum += __shfl_xor_sync(kWholeWarp, sum, 1);
      if (t == 0 && query[half] >= 0) update.parts[query[half] * update.rank + i] = sum;
    }
  }
}

}  // namespace tinylora::cuda
