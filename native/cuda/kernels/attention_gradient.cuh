// What the two passes of attention's backward pass on tensor cores (attention_backward_half.cu) have in common: the
// gradient of scores, and products of numbers that go in as two terms of 16 bits.
#pragma once

#include "act.cuh"
#include "attention_tile.cuh"

namespace tinylora::cuda {

/// p = e^(s / sqrt(D) - lse) and ds = p (dp - delta), 0 where the query does not see the key.
struct ScoreGradient {
  float scale;  // log2(e) / sqrt(D)

  __device__ explicit ScoreGradient(int dim) : scale(kLog2E / sqrtf(static_cast<float>(dim))) {}
  /// s becomes p, dp becomes ds.
  __device__ void operator()(float& s, float& dp, float lse, float delta, bool seen) const {
    const float p = exp2f(fmaf(s, scale, -kLog2E * lse));
    s = seen ? p : 0.0F;
    dp = seen ? p * (dp - delta) : 0.0F;
  }
};

/// Two neighbours as sums of two terms of 16 bits: the rounded value, and the rest rounded.
template <typename Half>
struct TwoTerms {
  std::uint32_t rounded = 0, rest = 0;

  TwoTerms() = default;
  __device__ TwoTerms(float low, float high) : rounded(pack<Half>(low, high)) {
    const float2 pair = pair_of<Half>(rounded);
    rest = pack<Half>(low - pair.x, high - pair.y);
  }
};

/// sum [16, kDim] += p b: p [16, 16] in two terms, b 16 rows of a tile; b too where there are `rest_rows`, without the
/// product of the two rests. The C fragments of a product are the A fragments of the next.
template <typename Half, int kDim>
__device__ void add_rows_of_two_terms(const float (&p)[2][4], const uint4* rows, const uint4* rest_rows,
                                      float (&sum)[kDim / 8][4]) {
  const int lane = static_cast<int>(threadIdx.x % 32), row = lane & 15, chunk = lane >> 4;
  const MatrixRow<kDim / 8> own(rows, row, chunk), own_rest(rest_rows == nullptr ? rows : rest_rows, row, chunk);
  std::uint32_t a[4], rest[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const TwoTerms<Half> terms(p[i >> 1][2 * (i & 1)], p[i >> 1][2 * (i & 1) + 1]);
    a[i] = terms.rounded;
    rest[i] = terms.rest;
  }
#pragma unroll
  for (int n = 0; n < kDim / 8; n += 2) {
    std::uint32_t b[4];
    load_matrices_transposed(b, own.at(n));
    multiply_add<Half>(sum[n], a, b[0], b[1]);
    multiply_add<Half>(sum[n + 1], a, b[2], b[3]);
    multiply_add<Half>(sum[n], rest, b[0], b[1]);
    multiply_add<Half>(sum[n + 1], rest, b[2], b[3]);
    if (rest_rows == nullptr) continue;
    load_matrices_transposed(b, own_rest.at(n));
    multiply_add<Half>(sum[n], a, b[0], b[1]);
    multiply_add<Half>(sum[n + 1], a, b[2], b[3]);
  }
}

}  // namespace tinylora::cuda
