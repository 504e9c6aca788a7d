// h = silu(gate) * up,  silu(g) = g sigma,  sigma = 1 / (1 + exp(-g))
//
// A tile of rows a block, a thread four neighbours at a time, and z of down_proj of the values it has just made
// (low_rank.cuh). Bytes an element: 3 acts. Limit: memory.
#include "early_start.cuh"
#include "low_rank.cuh"
#include "sigmoid.cuh"
#include "swiglu.h"

using namespace tinylora::cuda;

namespace {

template <typename Act, class Tile>
__device__ void swiglu(const SwigluKernelArgs& args) {
  await_launch_before();
  const LowRankArgs& low_rank = args.low_rank;
  const Act *const gate = kept(static_cast<const Act*>(args.gate)), *const up = kept(static_cast<const Act*>(args.up));
  Act* const to = kept(static_cast<Act*>(args.h));
  low_rank_rows<Act, Tile, 1, 1>(low_rank,
                                 [&](const auto& groups, const Place& place, bool first, Words<Act>(&words)[1]) {
                                   Act* h = to + place.at;
                                   if (!first) {
                                     words[0] = groups.load_words(h, place.column);
                                     return;
                                   }
                                   float g[kGroup], u[kGroup];
                                   groups.load(gate + place.at, place.column, g);
                                   groups.load(up + place.at, place.column, u);
#pragma unroll
                                   for (int e = 0; e < kGroup; ++e) g[e] = g[e] * sigmoid(g[e]) * u[e];
                                   words[0] = groups.store(place.real, h, place.column, g);
                                 });
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) swiglu_bf16(SwigluKernelArgs args) {
  swiglu<__nv_bfloat16, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) swiglu_f16(SwigluKernelArgs args) {
  swiglu<__half, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) swiglu_f32(SwigluKernelArgs args) {
  swiglu<float, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 2) swiglu_tall_bf16(SwigluKernelArgs args) {
  swiglu<__nv_bfloat16, Tall>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 2) swiglu_tall_f16(SwigluKernelArgs args) {
  swiglu<__half, Tall>(args);
}
