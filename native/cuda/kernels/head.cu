// The vocabulary head in chunks of 128 tokens: l = x W^T * inv_temperature.
//
// head_stats_*     grid (row tiles, chunks), the row tiles of a chunk side by side so that W is read from memory once:
//                  a tile of logits (head_tile.cuh) in shared memory, then a warp a row: largest l, sum e^(l -
//                  largest), sum e^(l - largest) (l - largest), 16 bytes a row and chunk; logits are never kept, except
//                  those of the few rows that the sampler cuts. 2 rows vocab width flops: tensor cores limit many rows,
//                  the 2 vocab width bytes of W limit few. With dx it leaves e^l of a group of chunks, the target's
//                  as 0: beside a likely one, rounding would hide the others. The product with W is head_product.cu.
// head_total_*     a block a row: chunks to lse, logp, entropy; sums in double, in the order of head_total.cuh. Then
//                  dx = inv_temperature (1 - p) (W[target] - sum e^l W / sum e^l), both sums without the target and of
//                  the same rounded e^l, so that weights that do not differ give 0 whatever rounding did.
// head_scale       the backward pass: dx d_logp.
// head_gradient_*  for dW: the tile again, then g = d_logp inv_temperature (1[target] - e^(l - lse)) rounded to act,
//                  for a group of chunks; the product with x is that of weight_gradient.cu.
// A row's statistics: lane l takes tokens l, l + 32, l + 64, l + 96 ascending, then a butterfly: the same for any tile.
#include "act.cuh"
#include "head.h"
#include "head_tile.cuh"
#include "head_total.cuh"
#include "head_unit.cuh"
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
  const int group_chunk = static_cast<int>(blockIdx.y), chunk = task.first_chunk + group_chunk;
  const int first = chunk * kVocabChunk;
  const int lane = static_cast<int>(threadIdx.x % 32);
  for_each_row<Tile>(task.product, task.inv_temperature, chunk, [&](int row, const float(&l)[kLaneTokens], int count) {
    float largest = kMinusInfinity;
#pragma unroll
    for (int j = 0; j < kLaneTokens; ++j) {
      if (lane + 32 * j < count) largest = fmaxf(largest, l[j]);
    }
    largest = warp_max(largest);
    float sum = 0, weighted = 0;
    float e[kLaneTokens] = {};
#pragma unroll
    for (int j = 0; j < kLaneTokens; ++j) {
      if (lane + 32 * j >= count) continue;
      const float below = l[j] - largest;
      e[j] = expf(below);
      sum += e[j];
      weighted = fmaf(e[j], below, weighted);
    }
    sum = warp_sum(sum);
    weighted = warp_sum(weighted);
    if (lane == 0) task.stats[static_cast<long long>(row) * task.chunks + chunk] = {largest, sum, weighted, 0};

    if (task.target != nullptr) {
      const int target = task.target[row] - first - lane;
#pragma unroll
      for (int j = 0; j < kLaneTokens; ++j) {
        if (32 * j != target) continue;
        task.target_l[row] = l[j];
        e[j] = 0;
      }
    }
    if (task.exponentials != nullptr) {
      using Act = typename Tile::Act;
      const float own = unit_of(largest);
      const float unit = task.before != nullptr ? unit_after<Act>(task.before[row].next_unit, own) : own;
      const float scale = in_unit(largest, unit);
      auto* to =
          static_cast<Act*>(task.exponentials) + static_cast<long long>(row) * task.stride + group_chunk * kVocabChunk;
      float made = 0;
#pragma unroll
      for (int j = 0; j < kLaneTokens; ++j) {
        store(to + lane + 32 * j, e[j] * scale);
        made += rounded<Act>(e[j] * scale);
      }
      made = warp_sum(made);
      if (lane == 0) task.made[group_chunk * task.product.rows + row] = {unit, made, own};
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

template <typename Act>
__device__ void head_total(const HeadTotalTask& task) {
  __shared__ TotalScratch scratch;
  const auto row = static_cast<long long>(blockIdx.x);
  const float l = task.logp[row];  // before one thread writes over it
  const RowTotal total = row_total(task.stats + row * task.chunks, task.chunks, scratch);
  const float logp = total.logp(l);
  if (threadIdx.x == 0) {
    task.logp[row] = logp;
    task.entropy[row] = total.entropy();
    task.lse[row] = total.lse();
  }
  if (task.dx == nullptr) return;
  const float of_target = task.inv_temperature[row] * -expm1f(logp);  // 1 - p
  const float others = task.others[row].sum;
  // Nothing is left of the others where the target leads by more than e^l has room for.
  const float of_sum = others > kLeastSum ? -of_target / others : 0.0F;
  const auto* weight = static_cast<const Act*>(task.product.weight) +
                       static_cast<long long>(task.target[row]) * task.product.weight_stride;
  float* dx = task.dx + row * task.product.width;
  for (int i = static_cast<int>(threadIdx.x); i < task.product.width; i += kTotalRuns) {
    dx[i] = fmaf(of_sum, dx[i], of_target * load(weight + i));
  }
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

extern "C" __global__ __launch_bounds__(kTotalRuns, 1) void head_total_bf16(HeadTotalTask task) {
  head_total<__nv_bfloat16>(task);
}
extern "C" __global__ __launch_bounds__(kTotalRuns, 1) void head_total_f16(HeadTotalTask task) {
  head_total<__half>(task);
}
extern "C" __global__ __launch_bounds__(kTotalRuns, 1) void head_total_f32(HeadTotalTask task) {
  head_total<float>(task);
}

extern "C" __global__ __launch_bounds__(256) void head_scale(HeadScaleTask task) {
  const float factor = task.d_logp[blockIdx.x];
  float* dx = task.dx + static_cast<long long>(blockIdx.x) * task.width;
  for (int i = static_cast<int>(threadIdx.x); i < task.width; i += 256) dx[i] *= factor;
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
