// rms_norm           y = x * inv_rms * gain,  inv_rms = 1 / sqrt(mean(x^2) + epsilon)
// rms_norm_backward  dx += inv_rms * (g - x * inv_rms^2 * mean(g * x)),  g = dy * gain
//
// Forward: a tile of rows a block, sums over a row in the order of row_tile.cuh; x is read twice, the second time from
// L1 (a row of 4096 floats is 16 KiB), and z of the products that read y is made of the values that are stored.
// Backward: a block a row, the sum by a thread over every 256th column, then over lanes, then over warps. Bytes a row:
// forward 4 width in and 2 or 4 width out, backward 16 width. Limit: memory.
#include "early_start.cuh"
#include "low_rank.cuh"
#include "norm.h"
#include "reduce.cuh"

using namespace tinylora::cuda;

namespace {

template <class Tile, bool kWide>
__device__ void add_squares(const RmsNormKernelArgs& args, float (&squares)[Tile::kTurns][Tile::kOwned]) {
  constexpr int kUnroll = kWide ? Tile::kUnroll : 1;
  const int width = args.low_rank.k;
  const Groups<kWide> groups{width};
  const float* x[Tile::kOwned];
#pragma unroll
  for (int i = 0; i < Tile::kOwned; ++i) {
    x[i] = args.x + int64_t{min(Tile::first_row() + Tile::own(i), args.low_rank.rows - 1)} * width;
  }
#pragma unroll(kUnroll)
  for (int column = Tile::column(); column < width; column += kSweep) {
#pragma unroll
    for (int turn = 0; turn < Tile::kTurns; ++turn) {
      const int own = column + turn * Tile::kTurn;
      if (turn > 0 && own >= width) break;
#pragma unroll
      for (int i = 0; i < Tile::kOwned; ++i) {
        float values[kGroup];
        groups.load(x[i] + own, own, values);
#pragma unroll
        for (int e = 0; e < kGroup; ++e) squares[turn][i] = fmaf(values[e], values[e], squares[turn][i]);
      }
    }
  }
}

template <typename Act, class Tile>
__device__ void rms_norm(const RmsNormKernelArgs& args) {
  __shared__ float of_part[kParts][Tile::kRows], of_row[Tile::kRows];
  await_launch_before();
  const LowRankArgs& low_rank = args.low_rank;
  const int width = low_rank.k, row0 = Tile::first_row();

  float squares[Tile::kTurns][Tile::kOwned] = {};
  if (low_rank.vector) {
    add_squares<Tile, true>(args, squares);
  } else {
    add_squares<Tile, false>(args, squares);
  }
#pragma unroll
  for (int turn = 0; turn < Tile::kTurns; ++turn) {
#pragma unroll
    for (int i = 0; i < Tile::kOwned; ++i) {
      const float total = chain_sum(squares[turn][i]);
      if (Tile::speaks()) of_part[Tile::part(turn)][Tile::own(i)] = total;
    }
  }
  __syncthreads();
  if (threadIdx.x < Tile::kRows) {
    const int m = row0 + static_cast<int>(threadIdx.x);
    float total = 0;
#pragma unroll
    for (int part = 0; part < kParts; ++part) total += of_part[part][threadIdx.x];
    const float inverse = 1 / sqrtf(total / static_cast<float>(width) + args.epsilon);
    of_row[threadIdx.x] = inverse;
    if (m < low_rank.rows) args.inv_rms[m] = inverse;
  }
  __syncthreads();
  const float *const x = kept(args.x), *const gains = kept(args.gain);
  Act* const to = kept(static_cast<Act*>(args.y));
  low_rank_rows<Act, Tile, 1, kMaxTasks>(
      low_rank, [&](const auto& groups, const Place& place, bool first, Words<Act>(&words)[1]) {
        Act* y = to + place.at;
        if (!first) {
          words[0] = groups.load_words(y, place.column);
          return;
        }
        const float inverse = of_row[place.m - row0];
        float values[kGroup], gain[kGroup];
        groups.load(x + place.at, place.column, values);
        groups.load_fixed(gains + place.column, place.column, gain);
#pragma unroll
        for (int e = 0; e < kGroup; ++e) values[e] = values[e] * inverse * gain[e];
        words[0] = groups.store(place.real, y, place.column, values);
      });
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) rms_norm_bf16(RmsNormKernelArgs args) {
  rms_norm<__nv_bfloat16, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) rms_norm_f16(RmsNormKernelArgs args) {
  rms_norm<__half, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) rms_norm_f32(RmsNormKernelArgs args) {
  rms_norm<float, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 3) rms_norm_tall_bf16(RmsNormKernelArgs args) {
  rms_norm<__nv_bfloat16, Tall>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 3) rms_norm_tall_f16(RmsNormKernelArgs args) {
  rms_norm<__half, Tall>(args);
}

extern "C" __global__ void __launch_bounds__(kNormBackwardThreads) rms_norm_backward(RmsNormBackwardKernelArgs args) {
  __shared__ float slots[kNormBackwardThreads / 32];
  await_launch_before();
  const int64_t row = int64_t{blockIdx.x} * args.width;
  const float* x = args.x + row;
  const float* dy = args.dy + row;
  float* dx = args.dx + row;

  float products = 0;
  for (int i = threadIdx.x; i < args.width; i += kNormBackwardThreads)
    products = fmaf(dy[i] * args.gain[i], x[i], products);
  const float mean = block_sum<kNormBackwardThreads>(products, slots) / static_cast<float>(args.width);
  const float inv = args.inv_rms[blockIdx.x];
  const float along = inv * inv * mean;
  for (int i = threadIdx.x; i < args.width; i += kNormBackwardThreads) {
    dx[i] = fmaf(inv, dy[i] * args.gain[i] - x[i] * along, dx[i]);
  }
}
