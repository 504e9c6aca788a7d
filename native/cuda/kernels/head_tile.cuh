// One tile of unscaled logits, rows x kVocabChunk tokens, left in shared memory as [rows, kLogitStride] float: what
// scoring, sampling and the gradient start from. Every tile sums k in the same order for a row, alone or among others,
// so a logit has the same bits in all of them:
//   16 bit mma.sync m16n8k16, x rows are A and tokens are B, 32 elements of k a stage; 4 stages of cp.async, swizzled.
//          many rows: 4 warps of 32 rows x 128 tokens; few rows (decoding): 4 warps of 16 rows x 32 tokens.
//   float  fmaf, k ascending; 8 warps of 4 rows x 128 tokens.
// A tile of 128 rows reads (128 + 128) * 2 bytes per 128 * 128 multiply-adds of k: 64 flops a byte of shared memory, so
// tensor cores limit it; one of 16 rows is limited by streaming W, of which 24 KB a block are on their way.
#pragma once

#include "act.cuh"
#include "head.h"
#include "mma.cuh"

namespace tinylora::cuda {

/// Rows of x or W, 32 elements from `k` on, into a swizzled stage; zeros outside.
template <int kRows, int kThreads, typename Half>
__device__ void request_rows(const Half* from, int first, int rows, int stride, int k, int width, uint4* to) {
  constexpr int kChunks = 4;
#pragma unroll
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks, column = k + i % kChunks * 8;
    uint4* place = to + swizzled<kChunks>(row, i % kChunks);
    const bool valid = first + row < rows && column < width;
    const Half* source = valid ? from + static_cast<long long>(first + row) * stride + column : from;
    if (stride % 8 == 0) {
      copy_async(place, source, valid);
      continue;
    }
    // Rows of an odd width do not start at 16 bytes.
    auto* elements = reinterpret_cast<Half*>(place);
    for (int j = 0; j < 8; ++j) elements[j] = valid && column + j < width ? source[j] : to_half<Half>(0.0F);
  }
}

/// kWarpsM x kWarpsN warps, each kTilesM * 16 rows x 128 / kWarpsN tokens.
template <typename Half, int kWarpsM, int kWarpsN, int kTilesM>
struct HalfTile {
  using Act = Half;
  static constexpr int kRows = kWarpsM * kTilesM * 16;
  static constexpr int kThreads = kWarpsM * kWarpsN * 32;
  static constexpr int kTilesN = kVocabChunk / 8 / kWarpsN;
  static constexpr int kChunks = 4;  // of 16 bytes in 32 elements of k
  static constexpr int kStage = (kRows + kVocabChunk) * kChunks;

  /// Tokens first_token .. of rows first_row ..; `shared` holds the stages, then the result.
  static __device__ void logits(const HeadProduct& product, int first_row, int first_token, void* shared) {
    auto* ring = static_cast<uint4*>(shared);
    const int steps = (product.width + 31) / 32;
    const auto request = [&](int step) {
      if (step < steps) {
        uint4* stage = ring + step % kHeadStages * kStage;
        request_rows<kRows, kThreads>(static_cast<const Act*>(product.x), first_row, product.rows, product.width,
                                      step * 32, product.width, stage);
        request_rows<kVocabChunk, kThreads>(static_cast<const Act*>(product.weight), first_token, product.vocab,
                                            product.weight_stride, step * 32, product.width, stage + kRows * kChunks);
      }
      commit_copies();
    };

    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    const int row = warp / kWarpsN * kTilesM * 16, column = warp % kWarpsN * kTilesN * 8;
    float sums[kTilesM][kTilesN][4] = {};
    for (int step = 0; step < kHeadStages - 1; ++step) request(step);
    for (int step = 0; step < steps; ++step) {
      wait_for_copies<kHeadStages - 2>();
      __syncthreads();
      request(step + kHeadStages - 1);
      const uint4* x = ring + step % kHeadStages * kStage;
      const uint4* w = x + kRows * kChunks;
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        std::uint32_t a[kTilesM][4];
#pragma unroll
        for (int m = 0; m < kTilesM; ++m) {
          load_matrices(a[m], x + swizzled<kChunks>(row + 16 * m + (lane & 15), 2 * k + (lane >> 4)));
        }
#pragma unroll
        for (int n = 0; n < kTilesN; n += 2) {
          std::uint32_t b[4];
          const int token = column + 8 * n + (lane & 7) + (lane >> 4) * 8;
          load_matrices(b, w + swizzled<kChunks>(token, 2 * k + (lane >> 3 & 1)));
#pragma unroll
          for (int m = 0; m < kTilesM; ++m) {
            multiply_add<Half>(sums[m][n], a[m], b[0], b[1]);
            multiply_add<Half>(sums[m][n + 1], a[m], b[2], b[3]);
          }
        }
      }
    }
    wait_for_copies<0>();
    __syncthreads();  // the stages have been read: the result takes their place

    auto* out = static_cast<float*>(shared);
#pragma unroll
    for (int m = 0; m < kTilesM; ++m) {
#pragma unroll
      for (int n = 0; n < kTilesN; ++n) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float* to = out + (row + 16 * m + lane / 4 + 8 * half) * kLogitStride + column + 8 * n + lane % 4 * 2;
          *reinterpret_cast<float2*>(to) = make_float2(sums[m][n][2 * half], sums[m][n][2 * half + 1]);
        }
      }
    }
    __syncthreads();
  }
};

template <typename Half>
using ManyRows = HalfTile<Half, 4, 1, 2>;
template <typename Half>
using FewRows = HalfTile<Half, 1, 4, 1>;

struct FloatTile {
  using Act = float;
  static constexpr int kRows = 32;
  static constexpr int kThreads = 256;
  static constexpr int kStep = 32;  // elements of k in shared memory
  static constexpr int kStride = kStep + 1;

  static __device__ void logits(const HeadProduct& product, int first_row, int first_token, void* shared) {
    auto* x = static_cast<float*>(shared);
    float* w = x + kRows * kStride;
    const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
    float sums[4][4] = {};  // rows 4 warp + i, tokens lane + 32 j
    for (int from = 0; from < product.width; from += kStep) {
      const int k = from + lane;
      const auto fill = [&](const void* source, int first, int rows, int stride, int count, float* to) {
        for (int i = warp; i < count; i += kThreads / 32) {
          const bool valid = first + i < rows && k < product.width;
          to[i * kStride + lane] =
              valid ? static_cast<const float*>(source)[static_cast<long long>(first + i) * stride + k] : 0.0F;
        }
      };
      fill(product.x, first_row, product.rows, product.width, kRows, x);
      fill(product.weight, first_token, product.vocab, product.weight_stride, kVocabChunk, w);
      __syncthreads();
      for (int step = 0; step < min(kStep, product.width - from); ++step) {
        float tokens[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) tokens[j] = w[(lane + 32 * j) * kStride + step];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float row = x[(4 * warp + i) * kStride + step];
#pragma unroll
          for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(row, tokens[j], sums[i][j]);
        }
      }
      __syncthreads();
    }
    auto* out = static_cast<float*>(shared);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) out[(4 * warp + i) * kLogitStride + lane + 32 * j] = sums[i][j];
    }
    __syncthreads();
  }
};

static_assert(ManyRows<__half>::kRows == kManyRows.rows && ManyRows<__half>::kThreads == kManyRows.threads);
static_assert(FewRows<__half>::kRows == kFewRows.rows && FewRows<__half>::kThreads == kFewRows.threads);
static_assert(FloatTile::kRows == kFloatRows.rows && FloatTile::kThreads == kFloatRows.threads);
static_assert(FloatTile::kRows * kLogitStride * 4 <= static_cast<int>(kFloatRows.shared_bytes));

}  // namespace tinylora::cuda
