// terms = a factor of an update, A or B transposed [rank, k], as sums of three bf16 or fp16 (low_rank.h), made once
// when the factor is set or has changed.
//
// A block a row: the row's largest magnitude gives the power of two that brings it to 2^13 .. 2^14, so that three
// fp16 hold all bits of the floats down to 2^-14 of the largest, and of smaller ones those down to 2^-38 of it; three
// bf16 hold all bits of all. Each term is what is left, rounded. Bytes a number: 8 in, 6 out. Limit: memory.
#include "group.cuh"
#include "warp.cuh"

using namespace tinylora::cuda;

namespace {

/// 2^13 .. 2^14 over `most`, as a power of two; 1 where that is zero or not finite.
__device__ float power_for(float most) {
  if (!(most > 0) || __float_as_uint(most) >= 0x7f800000U) return 1;
  const int exponent = max(static_cast<int>(__float_as_uint(most) >> 23), 27);
  return __uint_as_float(static_cast<unsigned>(2 * 127 + 13 - exponent) << 23);
}

template <typename Half>
__device__ void factor_terms(const FactorTermsKernelArgs& args) {
  __shared__ float of_warp[kFactorTermsThreads / 32];
  const int row = static_cast<int>(blockIdx.x), units = units_of(args.k);
  const float* factor = args.factor + int64_t{row} * args.k;
  float most = 0;
  for (int i = threadIdx.x; i < args.k; i += kFactorTermsThreads) most = fmaxf(most, fabsf(factor[i]));
  most = warp_max(most);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = most;
  __syncthreads();
#pragma unroll
  for (int warp = 0; warp < kFactorTermsThreads / 32; ++warp) most = fmaxf(most, of_warp[warp]);
  const float power = power_for(most);
  auto* head = static_cast<float*>(args.terms);
  if (threadIdx.x == 0) head[row] = 1 / power;
  auto* terms = reinterpret_cast<Half*>(head + kMaxRank) + int64_t{row} * units * kTerms * kUnit;
  for (int i = threadIdx.x; i < units * kUnit; i += kFactorTermsThreads) {
    float left = i < args.k ? factor[i] * power : 0;
#pragma unroll
    for (int term = 0; term < kTerms; ++term) {
      const Half rounded = to_half<Half>(left);
      terms[(i / kUnit * kTerms + term) * kUnit + i % kUnit] = rounded;
      left -= load(&rounded);
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kFactorTermsThreads) factor_terms_bf16(FactorTermsKernelArgs args) {
  factor_terms<__nv_bfloat16>(args);
}
extern "C" __global__ void __launch_bounds__(kFactorTermsThreads) factor_terms_f16(FactorTermsKernelArgs args) {
  factor_terms<__half>(args);
}
