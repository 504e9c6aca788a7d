// z = out A^T and left = z R_k^T of the product that reads attention's output (o_proj), made by the warps that write
// it.
//
// A row's H heads come from different blocks, so z is made in two steps. The warp that has rounded a query's D numbers
// multiplies them by its head's columns of A, and leaves the sums, [M, H, rank]. Each warp then counts its queries as
// arrived, by an integer atomic a query; the warp that brings a row's last head adds up the parts, and leaves the count
// at zero for the next launch. Which warp that is changes no bit: it reads all parts from memory, in one order.
//
// Order: of a head 32 chains (a product, then fmaf), chain L of columns 2 L and 2 L + 1 of each 64, ascending, then the
// chains in a butterfly, those 16 apart first; of a row, with W the power of two from the rank up, the parts of heads
// j, j + 32 / W, j + 64 / W, ... ascending in lanes j W .. j W + W - 1, then those lanes in such a butterfly. It is the
// same in every kernel that writes out (attention_tile.cuh, attention_simt.cuh, attention_combine.cu).
// Bytes: rank D floats of A from L2 for each query, on tensor cores for each head of a tile of queries; and of each
// part 4 rank written and read. Operations: rank D / 32 fmaf a lane and query. Tensor cores would multiply each query
// by the columns of all the heads of its tile.
#pragma once

#include "act.cuh"
#include "attention.h"
#include "mma.cuh"
#include "warp.cuh"

namespace tinylora::cuda {

__device__ inline int row_of(const AttentionTask& task, long long query) {
  return static_cast<int>(static_cast<unsigned>(query) / static_cast<unsigned>(task.args.heads));
}
__device__ inline int head_of(const AttentionTask& task, long long query) {
  return static_cast<int>(static_cast<unsigned>(query) % static_cast<unsigned>(task.args.heads));
}

/// z and left of a row all of whose parts are in memory, by one warp.
__device__ inline void finish_row(const AttentionTask& task, int row) {
  const AttentionUpdate& update = task.update;
  const int lane = static_cast<int>(threadIdx.x % 32), heads = task.args.heads, rank = update.rank;
  const int log_width = 32 - __clz(rank - 1), i = lane & ((1 << log_width) - 1);
  const float* parts = update.parts + static_cast<long long>(row) * heads * rank + i;
  float z = 0;  // element i
  for (int head = lane >> log_width; head < heads; head += 32 >> log_width) {
    if (i < rank) z += __ldcg(parts + head * rank);
  }
  for (int step = 16; step >> log_width > 0; step /= 2) z += __shfl_xor_sync(kWholeWarp, z, step);
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
  const int heads = task.args.heads, row = row_of(task, query);
  const bool last = query >= 0 && atomicAdd(task.update.arrived + row, 1U) + 1 == static_cast<unsigned>(heads);
  unsigned lanes = __ballot_sync(kWholeWarp, last);
  if (lanes == 0) return;
  __threadfence();  // and the count is read before what others have stored,
  __syncwarp();     // which all lanes read, and one has counted
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
      const float value = load(out + column), factor = a[column];
      sum = column < 64 ? value * factor : fmaf(value, factor, sum);
      if (column + 1 < dim) sum = fmaf(load(out + column + 1), a[column + 1], sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) update.parts[query * update.rank + i] = sum;
  }
}

/// The parts of two queries of 16-bit numbers, as the lanes of an mma's C fragment hold them: the four lanes t of quad
/// g columns 8 n + 2 t and 8 n + 2 t + 1 of queries first + g and first + g + 8 of the tile, which ends before query
/// `end`; in [M, H] they are `query`, -1 where there is none. All threads of the block must call; `memory` is that of
/// its pages, which it has done with.
///
/// The block brings A's columns there, zeros from D on as out has there, of as many elements of z at once as fit. Slot
/// s is of the head of the tile's query s: neighbours' slots are neighbours, in banks of their own. Of more queries
/// than heads the first three slots are repeated after the last; lanes past the last query read its slot.
template <typename Half, int kDim>
__device__ void add_parts(const AttentionTask& task, int kv_head, int first, int end, const long long (&query)[2],
                          const std::uint32_t (&out)[2][kDim / 8], float* memory) {
  constexpr int kChains = 8;                                    // that a lane has of the 32
  constexpr int kStride = kDim + 8;                             // of slots
  constexpr int kMemory = kAttentionStages * kPageSize * kDim;  // floats: attention_shared_bytes
  static_assert((kAttentionWarps * kAttentionTile + 3) * kStride <= kMemory && kDim <= 4 * 32);
  const AttentionUpdate& update = task.update;
  int heads = task.args.heads, thread = static_cast<int>(threadIdx.x);
  asm volatile("" : "+r"(heads), "+r"(thread));  // what follows is found here, not ahead of the pages
  const int warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
  const int group = heads / task.args.kv_heads, dim = task.args.head_dim;
  const int tile = first - warp * kAttentionTile;  // its first query
  const int slots = end - tile > group ? group + 3 : end - tile, at_once = kMemory / (slots * kStride);
  int place[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int quarter = warp * kAttentionTile + 8 * half + g / 4 * 4;
    place[half] = min(quarter % group + g % 4, slots - 1) * kStride + 2 * t;
  }
#pragma unroll 1
  for (int from = 0; from < update.rank; from += at_once) {
    const int count = min(at_once, update.rank - from), column = 4 * lane;
    __syncthreads();  // what lies there is not read any more
#pragma unroll 1
    for (int slot = warp; slot < slots && column < kDim; slot += static_cast<int>(blockDim.x / 32)) {
      const float* a = update.a + (from * heads + kv_head * group + (tile + slot) % group) * dim + column;
      float* to = memory + slot * kStride + column;
#pragma unroll 1
      for (int i = 0; i < count; ++i, a += heads * dim, to += slots * kStride) copy_async(to, a, column < dim);
    }
    wait_for_all_copies();
    __syncthreads();
    if (first >= end) continue;  // a whole warp without queries
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (first + 8 * half >= end) break;
      const float* a = memory + place[half];
#pragma unroll 1
      for (int i = 0; i < count; ++i, a += slots * kStride) {
        float chains[kChains] = {};
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
          const float2 factor = *reinterpret_cast<const float2*>(a + 8 * n), value = pair_of<Half>(out[half][n]);
          float& chain = chains[n % kChains];
          const float first_of_two = n < kChains ? value.x * factor.x : fmaf(value.x, factor.x, chain);
          chain = fmaf(value.y, factor.y, first_of_two);
        }
#pragma unroll
        for (int step = kChains / 2; step > 0; step /= 2) {
#pragma unroll
          for (int s = 0; s < step; ++s) chains[s] += chains[s + step];
        }
        float sum = chains[0];
        sum += __shfl_xor_sync(kWholeWarp, sum, 2);
        sum += __shfl_xor_sync(kWholeWarp, sum, 1);
        if (t == 0 && query[half] >= 0) update.parts[query[half] * update.rank + from + i] = sum;
      }
    }
  }
}

}  // namespace tinylora::cuda
