// kGroup neighbouring elements of a row at a time: 16 or 32 bytes in one or two moves where the arrays allow it, else
// one by one, zeros past the end of the row.
#pragma once

#include "act.cuh"
#include "low_rank.h"

namespace tinylora::cuda {

__device__ inline void load_whole(const float* p, float (&values)[kGroup]) {
  const float4 low = reinterpret_cast<const float4*>(p)[0], high = reinterpret_cast<const float4*>(p)[1];
  values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
  values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}

template <typename Half>
__device__ void load_whole(const Half* p, float (&values)[kGroup]) {
  const uint4 words = *reinterpret_cast<const uint4*>(p);
  const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = unpack<Half>(word[i]);
    values[2 * i] = pair.x, values[2 * i + 1] = pair.y;
  }
}

__device__ inline void store_whole(float* p, const float (&values)[kGroup]) {
  reinterpret_cast<float4*>(p)[0] = make_float4(values[0], values[1], values[2], values[3]);
  reinterpret_cast<float4*>(p)[1] = make_float4(values[4], values[5], values[6], values[7]);
}

template <typename Half>
__device__ void store_whole(Half* p, const float (&values)[kGroup]) {
  *reinterpret_cast<uint4*>(p) = make_uint4(pack<Half>(values[0], values[1]), pack<Half>(values[2], values[3]),
                                            pack<Half>(values[4], values[5]), pack<Half>(values[6], values[7]));
}

/// Elements i .. i + 7 of a row of `args.k`.
template <typename T>
__device__ void load_group(const LowRankArgs& args, const T* row, int i, float (&values)[kGroup]) {
  if (args.vector) return load_whole(row + i, values);
#pragma unroll
  for (int e = 0; e < kGroup; ++e) values[e] = i + e < args.k ? load(row + i + e) : 0.0F;
}

/// Stores them, and leaves in `values` what was stored: rounded where T is.
template <typename T>
__device__ void store_group(const LowRankArgs& args, T* row, int i, float (&values)[kGroup]) {
  if (args.vector) {
    store_whole(row + i, values);
  } else {
#pragma unroll
    for (int e = 0; e < kGroup; ++e) {
      if (i + e < args.k) store(row + i + e, values[e]);
    }
  }
#pragma unroll
  for (int e = 0; e < kGroup; ++e) values[e] = rounded(values[e], row);
}

}  // namespace tinylora::cuda
