// One head of a row in the registers of a warp: its rotation, and the sums of its norm.
//
// Lane l owns the pairs (i, i + D/2) with i = l, l + 32, ..., up to four of them (D <= 256). The sums of the norm are
// taken over a lane's pairs ascending, then over the warp in a butterfly: an order fixed by D.
#pragma once

#include "act.cuh"
#include "warp.cuh"

namespace tinylora::cuda {
namespace {

constexpr int kPairs = 4;  // of one lane

struct Head {
  float low[kPairs];   // elements i
  float high[kPairs];  // elements i + D/2
};

__device__ Head load_head(const float* x, int half, int lane) {
  Head head;
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int i = lane + 32 * j;
    head.low[j] = i < half ? x[i] : 0.0F;
    head.high[j] = i < half ? x[i + half] : 0.0F;
  }
  return head;
}

template <typename T>
__device__ void store_head(const Head& head, T* y, int half, int lane) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int i = lane + 32 * j;
    if (i >= half) continue;
    store(y + i, head.low[j]);
    store(y + i + half, head.high[j]);
  }
}

/// sum of a b over the head.
__device__ float dot(const Head& a, const Head& b) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kPairs; ++j) sum = fmaf(a.high[j], b.high[j], fmaf(a.low[j], b.low[j], sum));
  return warp_sum(sum);
}

__device__ float inverse_rms(const Head& x, int dim, float epsilon) {
  return 1.0F / sqrtf(dot(x, x) / static_cast<float>(dim) + epsilon);
}

__device__ void scale(Head& head, float factor) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    head.low[j] *= factor;
    head.high[j] *= factor;
  }
}

__device__ void multiply(Head& head, const Head& by) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    head.low[j] *= by.low[j];
    head.high[j] *= by.high[j];
  }
}

/// (a cos - b sin, b cos + a sin); with direction -1 the transpose.
__device__ void turn(Head& head, const float* cos, const float* sin, float direction, int half, int lane) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int i = lane + 32 * j;
    if (i >= half) continue;
    const float c = cos[i], s = sin[i] * direction;
    const float a = head.low[j], b = head.high[j];
    head.low[j] = a * c - b * s;
    head.high[j] = b * c + a * s;
  }
}

}  // namespace
}  // namespace tinylora::cuda
