// dx = or += g W over a group of tokens: the second half of the head's backward pass; the first,
// head_gradient, wrote g.
//
// head_product_bf16, _f16: tiles of 128 rows x 128 columns of dx, 4 warps of 64 x 64; 32 tokens a stage, 4 stages of
// cp.async of 8 KB of g and 8 KB of W, swizzled. W is read as it lies, tokens down, columns across: ldmatrix .trans
// makes it the B operand (k = token), so no transposed copy is needed. Sums start from dx, tokens ascending, one mma
// k16 after the other: the same chain whatever the number of rows. Flops 2 rows tokens width: limited by tensor cores;
// dx is read and written once a group. head_product_f32: fmaf, tokens ascending; 8 warps of 4 rows x 128 columns.
#include "act.cuh"
#include "head.h"
#include "mma.cuh"

namespace tinylora::cuda {
namespace {

constexpr int kTile = 128;  // rows and columns of dx
constexpr int kStep = 32;   // tokens
constexpr int kGradientChunks = kStep / 8, kWeightChunks = kTile / 8;
constexpr int kStage = kTile * kGradientChunks + kStep * kWeightChunks;  // of 16 bytes

template <typename Half>
__device__ void request(const HeadGradientProduct& task, int token, uint4* stage) {
  const int first_row = static_cast<int>(blockIdx.y) * kTile, first_column = static_cast<int>(blockIdx.x) * kTile;
  const auto* g = static_cast<const Half*>(task.gradient);
  const auto* w = static_cast<const Half*>(task.weight);
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kTile * kGradientChunks; i += 128) {
    const int row = i / kGradientChunks, chunk = i % kGradientChunks;
    const bool valid = first_row + row < task.rows;
    const long long from = static_cast<long long>(first_row + row) * task.gradient_stride + token + chunk * 8;
    copy_async(stage + swizzled<kGradientChunks>(row, chunk), g + (valid ? from : 0), valid);
  }
  uint4* weights = stage + kTile * kGradientChunks;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kStep * kWeightChunks; i += 128) {
    const int row = i / kWeightChunks, chunk = i % kWeightChunks, column = first_column + chunk * 8;
    const bool valid = token + row < task.tokens && column < task.weight_stride;
    const long long from = static_cast<long long>(task.first_token + token + row) * task.weight_stride + column;
    copy_async(weights + swizzled<kWeightChunks>(row, chunk), w + (valid ? from : 0), valid);
  }
}

/// Calls body(sum, element of dx) for this lane's sums inside dx.
template <class Body>
__device__ void for_each_sum(const HeadGradientProduct& task, int row, int column, float (&sums)[4][8][4],
                             const Body& body) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int m = 0; m < 4; ++m) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = row + 16 * m + lane / 4 + 8 * (i >> 1), c = column + 8 * n + lane % 4 * 2 + (i & 1);
        if (r < task.rows && c < task.width) body(sums[m][n][i], task.dx[static_cast<long long>(r) * task.width + c]);
      }
    }
  }
}

template <typename Half>
__device__ void head_product(const HeadGradientProduct& task) {
  extern __shared__ uint4 ring[];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int row = warp / 2 * 64, column = warp % 2 * 64;
  const int first_row = static_cast<int>(blockIdx.y) * kTile, first_column = static_cast<int>(blockIdx.x) * kTile;
  const int steps = (task.tokens + kStep - 1) / kStep;
  const auto request_step = [&](int step) {
    if (step < steps) request<Half>(task, step * kStep, ring + step % kHeadStages * kStage);
    commit_copies();
  };
  for (int step = 0; step < kHeadStages - 1; ++step) request_step(step);

  float sums[4][8][4] = {};
  if (task.add) {
    for_each_sum(task, first_row + row, first_column + column, sums, [](float& sum, float& dx) { sum = dx; });
  }
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<kHeadStages - 2>();
    __syncthreads();
    request_step(step + kHeadStages - 1);
    const uint4* g = ring + step % kHeadStages * kStage;
    const uint4* w = g + kTile * kGradientChunks;
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      std::uint32_t a[4][4];
#pragma unroll
      for (int m = 0; m < 4; ++m) {
        load_matrices(a[m], g + swizzled<kGradientChunks>(row + 16 * m + (lane & 15), 2 * k + (lane >> 4)));
      }
#pragma unroll
      for (int n = 0; n < 8; n += 2) {
        std::uint32_t b[4];
        load_matrices_transposed(b, w + swizzled<kWeightChunks>(16 * k + (lane & 15), column / 8 + n + (lane >> 4)));
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          multiply_add<Half>(sums[m][n], a[m], b[0], b[1]);
          multiply_add<Half>(sums[m][n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
  wait_for_copies<0>();
  for_each_sum(task, first_row + row, first_column + column, sums, [](float& sum, float& dx) { dx = sum; });
}

}  // namespace

extern "C" __global__ __launch_bounds__(128) void head_product_bf16(HeadGradientProduct task) {
  head_product<__nv_bfloat16>(task);
}
extern "C" __global__ __launch_bounds__(128) void head_product_f16(HeadGradientProduct task) {
  head_product<__half>(task);
}

extern "C" __global__ __launch_bounds__(256) void head_product_f32(HeadGradientProduct task) {
  __shared__ float g[kFloatRows.rows][kStep + 1];
  __shared__ float w[kStep][kTile];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int first_row = static_cast<int>(blockIdx.y) * kFloatRows.rows;
  const int first_column = static_cast<int>(blockIdx.x) * kTile;
  float sums[4][4] = {};  // rows 4 warp + i, columns lane + 32 j
  const auto for_each = [&](const auto& body) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int r = first_row + 4 * warp + i, c = first_column + lane + 32 * j;
        if (r < task.rows && c < task.width) body(sums[i][j], task.dx[static_cast<long long>(r) * task.width + c]);
      }
    }
  };
  if (task.add) for_each([](float& sum, float& dx) { sum = dx; });
  for (int token = 0; token < task.tokens; token += kStep) {
    const int count = min(kStep, task.tokens - token);
    for (int i = warp; i < kFloatRows.rows; i += 8) {
      const long long from = static_cast<long long>(first_row + i) * task.gradient_stride + token + lane;
      const bool valid = first_row + i < task.rows && lane < count;
      g[i][lane] = valid ? static_cast<const float*>(task.gradient)[from] : 0.0F;
    }
    for (int i = warp; i < count; i += 8) {
      const long long from = static_cast<long long>(task.first_token + token + i) * task.weight_stride;
      for (int c = lane; c < kTile; c += 32) {
        const bool valid = first_column + c < task.weight_stride;
        w[i][c] = valid ? static_cast<const float*>(task.weight)[from + first_column + c] : 0.0F;
      }
    }
    __syncthreads();
    for (int k = 0; k < count; ++k) {
      float columns[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) columns[j] = w[k][lane + 32 * j];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float row = g[4 * warp + i][k];
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(row, columns[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  for_each([](float& sum, float& dx) { dx = sum; });
}

}  // namespace tinylora::cuda
