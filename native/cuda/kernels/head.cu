// The vocabulary head in chunks of 128 tokens: l = x W^T * inv_temperature.
//
// head_stats_*     grid (row tiles, chunks), the row tiles of a chunk side by side so that W is read from memory once:
//                  a tile of logits (head_tile.cuh) in shared memory, then a warp a row: largest l, sum e^(l -
//                  largest), sum e^(l - largest) (l - largest), 16 bytes a row and chunk; logits are never kept, except
//                  those of the few rows that the sampler cuts. 2 rows vocab width flops: tensor cores limit many rows,
//                  the 2 vocab width bytes of W limit few.
// head_total       a block a row: chunks to lse, logp, entropy; sums in double, in the order of head_total.cuh.
// head_gradient_*  the same tile, then g = d_logp inv_temperature (1[target] - e^(l - lse)) rounded to act, for a group
//                  of chunks; the product with W is head_product.cu.
// A row's statistics: lane l takes tokens l, l + 32, l + 64, l + 96 ascending, then a butterfly: the same for any tile.
#include "act.cuh"
#include "head.h"
#include "head_tile.cuh"
#include "head_total.cuh"
#include "warp.cuh"

namespace tinylora::cuda {
namespace {

constexpr int kLaneTokens = kVocabChunk / 32;

/// Calls body(row, l of this lane's tokens, count of tokens in the chunk) for the rows of a tile, a warp each.
template <class Tile, class Body>
__device__ void for_each_row(const HeadProduct& product, const float* inv_temperature, int chunk, const Body& body) {
  extern __shared__ uint4 shared_tile[];
  const int first_row = static_cast<int>(blockIdx.x) * Tile::kRows;
  Tile::logits(product, first_row, chunk * kVocabChunk, shared_tile);
  const auto* logits = reinterpret_cast<const float*>(shared_tile);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int count = min(kVocabChunk, product.vocab - chunk * kVocabChunk);
  for (int i = static_cast<int>(threadIdx.x / 32); i < min(Tile::kRows, product.rows - first_row);
       i += Tile::kThreads / 32) {
    const float scale = inv_temperature[first_row + i];
    float l[kLaneTokens];
#pragma unroll
    for (int j = 0; j < kLaneTokens; ++j) l[j] = logits[i * kLogitStride + lane + 32 * j] * scale;
    body(first_row + i, l, count);
  }
}

template <class Tile>
__device__ void head_stats(const HeadStatsTask& task) {
  const int chunk = static_cast<int>(blockIdx.y), first = chunk * kVocabChunk;
  const int chunks = static_cast<int>(gridDim.y);
  const int lane = static_cast<int>(threadIdx.x % 32);
  for_each_row<Tile>(task.product, task.inv_temperature, chunk, [&](int row, const float(&l)[kLaneTokens], int count) {
    float largest = -__builtin_huge_valf();
#pragma unroll
    for (int j = 0; j < kLaneTokens; ++j) {
      if (lane + 32 * j < count) largest = fmaxf(largest, l[j]);
    }
    largest = warp_max(largest);
    float sum = 0, weighted = 0;
#pragma unroll
    for (int j = 0; j < kLaneTokens; ++j) {
      if (lane + 32 * j >= count) continue;
      const float below = l[j] - largest;
      const float e = expf(below);
      sum += e;
      weighted = fmaf(e, below, weighted);
    }
    sum = warp_sum(sum);
    weighted = warp_sum(weighted);
    if (lane == 0) task.stats[static_cast<long long>(row) * chunks + chunk] = {largest, sum, weighted, 0};

    if (task.target != nullptr) {
      const int target = task.target[row] - first;
#pragma unroll
      for (int j = 0; j < kLaneTokens; ++j) {
        if (lane + 32 * j == target) task.target_l[row] = l[j];
      }
    }
    const int kept = task.kept != nullptr ? task.kept[row] : -1;
    if (kept >= 0) {
      float* to = task.logits + static_cast<long long>(kept) * task.product.vocab + first;
#pragma unroll
      for (int j = 0; j < kLaneTokens; ++j) {
        if (lane + 32 * j < count) to[lane + 32 * j] = l[j];
      }
    }
  });
}

template <class Tile>
__device__ void head_gradient(const HeadGradientTask& task) {
  const int column = static_cast<int>(blockIdx.y) * kVocabChunk;
  const int chunk = task.first_chunk + static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x % 32);
  for_each_row<Tile>(task.product, task.inv_temperature, chunk, [&](int row, const float(&l)[kLaneTokens], int count) {
    const float factor = task.d_logp[row] * task.inv_temperature[row];
    const float lse = task.lse[row];
    const int target = task.target[row] - chunk * kVocabChunk;
    auto* to =
        static_cast<typename Tile::Act*>(task.gradient) + static_cast<long long>(row) * task.gradient_stride + column;
#pragma unroll
    for (int j = 0; j < kLaneTokens; ++j) {
      const int token = lane + 32 * j;
      const float g = factor * ((token == target ? 1.0F : 0.0F) - expf(l[j] - lse));
      store(to + token, token < count ? g : 0.0F);
    }
  });
}

}  // namespace

extern "C" __global__ __launch_bounds__(128) void head_stats_many_bf16(HeadStatsTask task) {
  head_stats<ManyRows<__nv_bfloat16>>(task);
}
extern "C" __global__ __launch_bounds__(128) void head_stats_many_f16(HeadStatsTask task) {
  head_stats<ManyRows<__half>>(task);
}
extern "C" __global__ __launch_bounds__(128) void head_stats_few_bf16(HeadStatsTask task) {
  head_stats<FewRows<__nv_bfloat16>>(task);
}
extern "C" __global__ __launch_bounds__(128) void head_stats_few_f16(HeadStatsTask task) {
  head_stats<FewRows<__half>>(task);
}
extern "C" __global__ __launch_bounds__(256) void head_stats_f32(HeadStatsTask task) { head_stats<FloatTile>(task); }

extern "C" __global__ __launch_bounds__(kTotalRuns) void head_total(HeadTotalTask task) {
  __shared__ TotalScratch scratch;
  const auto row = static_cast<long long>(blockIdx.x);
  const RowTotal total = row_total(task.stats + row * task.chunks, task.chunks, scratch);
  if (threadIdx.x != 0) return;
  task.logp[row] = total.logp(task.logp[row]);
  task.entropy[row] = total.entropy();
  task.lse[row] = total.lse();
}

extern "C" __global__ __launch_bounds__(128) void head_gradient_bf16(HeadGradientTask task) {
  head_gradient<ManyRows<__nv_bfloat16>>(task);
}
extern "C" __global__ __launch_bounds__(128) void head_gradient_f16(HeadGradientTask task) {
  head_gradient<ManyRows<__half>>(task);
}
extern "C" __global__ __launch_bounds__(256) void head_gradient_f32(HeadGradientTask task) {
  head_gradient<FloatTile>(task);
}

}  // namespace tinylora::cuda
