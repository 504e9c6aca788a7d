// dx = or += e^l W over a group of chunks: the derivative of logp, begun where its logits are (head_stats wrote e^l;
// the target, and the division by the sum, come in head_total). It is attention over the vocabulary, with W as keys and
// values. e^l is in units (head_unit.cuh): a row of a group in that of the largest l before the group, unless it has a
// chunk without room in it; in the first group each chunk in its own. A tile finds the largest of each row, takes dx to
// it when it reads it, and e^l as it goes into the tensor cores where a warp's rows are not all in it already.
//
// head_product_*_bf16, _f16: tiles of 128 rows (many) or 64 (few, where that many tiles would leave multiprocessors
// idle) x 128 columns of dx, 4 warps of 64 or 32 x 64; 32 tokens a stage, 4 stages of cp.async of 64 bytes of e^l a row
// and 8 KB of W, swizzled. W is read as it lies, tokens down, columns across: ldmatrix .trans makes it the B operand (k
// = token), so no transposed copy is needed. Sums start from dx, tokens ascending, one mma k16 after the other: the
// same chain in every tile. head_product_f32: fmaf, tokens ascending; 8 warps of 4 rows x 128 columns.
//
// Flops 2 rows tokens width: limited by tensor cores, or by latency where tiles are few. 4,096 tokens a group make
// 1,024 flops a byte of dx, which is read and written once a group. Of n rows in passes of 2,048, with logits made once
// in place of twice (a group's W comes from L2 here, as far as L2 holds what head_stats has read):
//   flops                  6 n V C -> 4 n V C
//   W from memory          n / 2048 * 2 V C bytes, twice -> once
//   dx                     n C V / 4096 * 8 bytes, before as after;  e^l as g before it: 4 n V
// The head at 2,032 rows, ms by benchmarks/cuda/head-time.ts on an A100: SmolLM2-135M 1.7, Qwen2.5-0.5B 7.6, 1.5B 9.3,
// 7B 21; half of it here. One warp's chain of instructions decides where tiles are few. On sm_90a:
// head_product_sm90.cu.
#include "act.cuh"
#include "head.h"
#include "head_ratios.cuh"
#include "mma.cuh"

namespace tinylora::cuda {
namespace {

constexpr int kStep = 32;                                                           // tokens, all of one chunk
constexpr int kExponentialPieces = kStep / 8, kWeightPieces = kProductColumns / 8;  // of 16 bytes

template <typename Half, int kRows>
__device__ void request(const HeadProductTask& task, int token, uint4* stage) {
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const int first_column = static_cast<int>(blockIdx.x) * kProductColumns;
  const auto* e = static_cast<const Half*>(task.exponentials);
  const auto* w = static_cast<const Half*>(task.weight);
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kExponentialPieces; i += 128) {
    const int row = i / kExponentialPieces, piece = i % kExponentialPieces;
    const bool valid = first_row + row < task.rows;
    const long long from = static_cast<long long>(first_row + row) * task.stride + token + piece * 8;
    copy_async(stage + swizzled<kExponentialPieces>(row, piece), e + (valid ? from : 0), valid);
  }
  uint4* weights = stage + kRows * kExponentialPieces;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kStep * kWeightPieces; i += 128) {
    const int row = i / kWeightPieces, piece = i % kWeightPieces, column = first_column + piece * 8;
    const bool valid = token + row < task.tokens && column < task.weight_stride;
    const long long from = static_cast<long long>(task.first_token + token + row) * task.weight_stride + column;
    copy_async(weights + swizzled<kWeightPieces>(row, piece), w + (valid ? from : 0), valid);
  }
}

/// Calls body(sum, element of dx) for this lane's sums inside dx.
template <int kTiles, class Body>
__device__ void for_each_sum(const HeadProductTask& task, int row, int column, float (&sums)[kTiles][8][4],
                             const Body& body) {
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
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

template <typename Half, int kRows>
__device__ void head_product(const HeadProductTask& task) {
  constexpr int kTiles = kRows / 32;  // of 16 rows in each of two warps
  constexpr int kStage = kRows * kExponentialPieces + kStep * kWeightPieces;
  extern __shared__ uint4 ring[];
  __shared__ UnitRatios<Half, kRows> ratios;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int row = warp / 2 * (kRows / 2), column = warp % 2 * 64;
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const int first_column = static_cast<int>(blockIdx.x) * kProductColumns;
  const int steps = (task.tokens + kStep - 1) / kStep;
  const auto request_step = [&](int step) {
    if (step < steps) request<Half, kRows>(task, step * kStep, ring + step % kHeadStages * kStage);
    commit_copies();
  };
  for (int step = 0; step < kHeadStages - 1; ++step) request_step(step);
  float sums[kTiles][8][4] = {};
  if (task.first_token > 0) {
    for_each_sum(task, first_row + row, first_column + column, sums, [](float& sum, float& dx) { sum = dx; });
  }
  // Not on the way: ptxas spills to ask for all of dx before the first product.
  ratios.fill(task, first_row, blockIdx.x == 0);
  __syncthreads();
#pragma unroll
  for (int m = 0; m < kTiles; ++m) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[m][n][i] *= ratios.of_sums[row + 16 * m + lane / 4 + 8 * (i >> 1)];
    }
  }
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<kHeadStages - 2>();
    __syncthreads();
    request_step(step + kHeadStages - 1);
    const uint4* e = ring + step % kHeadStages * kStage;
    const uint4* w = e + kRows * kExponentialPieces;
    const int chunk = step * kStep / kVocabChunk;
    const bool changed = ratios.template changed<kRows / 2>(row, chunk);
    const Half* ratio = ratios.of_chunk[chunk] + row + lane / 4;
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      std::uint32_t a[kTiles][4];
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        load_matrices(a[m], e + swizzled<kExponentialPieces>(row + 16 * m + (lane & 15), 2 * k + (lane >> 4)));
      }
      if (changed) {
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
#pragma unroll
          for (int i = 0; i < 4; ++i) a[m][i] = times<Half>(a[m][i], ratio[16 * m + 8 * (i & 1)]);
        }
      }
#pragma unroll
      for (int n = 0; n < 8; n += 2) {
        std::uint32_t b[4];
        load_matrices_transposed(b, w + swizzled<kWeightPieces>(16 * k + (lane & 15), column / 8 + n + (lane >> 4)));
#pragma unroll
        for (int m = 0; m < kTiles; ++m) {
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

extern "C" __global__ __launch_bounds__(128) void head_product_many_bf16(HeadProductTask task) {
  head_product<__nv_bfloat16, kManyProductRows.rows>(task);
}
extern "C" __global__ __launch_bounds__(128) void head_product_many_f16(HeadProductTask task) {
  head_product<__half, kManyProductRows.rows>(task);
}
extern "C" __global__ __launch_bounds__(128) void head_product_few_bf16(HeadProductTask task) {
  head_product<__nv_bfloat16, kFewProductRows.rows>(task);
}
extern "C" __global__ __launch_bounds__(128) void head_product_few_f16(HeadProductTask task) {
  head_product<__half, kFewProductRows.rows>(task);
}

extern "C" __global__ __launch_bounds__(256) void head_product_f32(HeadProductTask task) {
  __shared__ float e[kFloatRows.rows][kStep + 1];
  __shared__ float w[kStep][kProductColumns];
  __shared__ UnitRatios<float, kFloatRows.rows> ratios;
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int first_row = static_cast<int>(blockIdx.y) * kFloatRows.rows;
  const int first_column = static_cast<int>(blockIdx.x) * kProductColumns;
  float sums[4][4] = {};  // rows 4 warp + i, columns lane + 32 j
  const auto for_each = [&](const auto& body) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int own = 4 * warp + i, r = first_row + own, c = first_column + lane + 32 * j;
        if (r < task.rows && c < task.width) body(sums[i][j], own, task.dx[static_cast<long long>(r) * task.width + c]);
      }
    }
  };
  ratios.fill(task, first_row, blockIdx.x == 0);
  __syncthreads();
  if (task.first_token > 0) for_each([&](float& sum, int own, float& dx) { sum = dx * ratios.of_sums[own]; });
  for (int token = 0; token < task.tokens; token += kStep) {
    const int count = min(kStep, task.tokens - token);
    for (int i = warp; i < kFloatRows.rows; i += 8) {
      const long long from = static_cast<long long>(first_row + i) * task.stride + token + lane;
      const bool valid = first_row + i < task.rows && lane < count;
      const float ratio = ratios.of_chunk[token / kVocabChunk][i];
      e[i][lane] = valid ? static_cast<const float*>(task.exponentials)[from] * ratio : 0.0F;
    }
    for (int i = warp; i < count; i += 8) {
      const long long from = static_cast<long long>(task.first_token + token + i) * task.weight_stride;
      for (int c = lane; c < kProductColumns; c += 32) {
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
        const float row = e[4 * warp + i][k];
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(row, columns[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  for_each([](float& sum, int, float& dx) { dx = sum; });
}

}  // namespace tinylora::cuda
