// d_gate = dh * up * sigma * (1 + gate (1 - sigma)),  d_up = dh * silu(gate)  (swiglu.cu)
//
// A tile of rows a block, a thread four neighbours at a time, and s of gate_proj and up_proj of the values it has just
// made (low_rank.cuh). Bytes an element: 4 acts and a float. Limit: memory.
#include "low_rank.cuh"
#include "sigmoid.cuh"
#include "swiglu.h"

using namespace tinylora::cuda;

namespace {

template <typename Act, class Tile>
__device__ void swiglu_backward(const SwigluBackwardKernelArgs& args) {
  const LowRankArgs& low_rank = args.low_rank;
  const Act *const gate = kept(static_cast<const Act*>(args.gate)), *const up = kept(static_cast<const Act*>(args.up));
  const float* const dh = kept(args.dh);
  Act *const to_gate = kept(static_cast<Act*>(args.d_gate)), *const to_up = kept(static_cast<Act*>(args.d_up));
  low_rank_rows<Act, Tile, 2, 2>(low_rank,
                                 [&](const auto& groups, const Place& place, bool first, Words<Act>(&words)[2]) {
                                   Act* d_gate = to_gate + place.at;
                                   Act* d_up = to_up + place.at;
                                   if (!first) {
                                     words[0] = groups.load_words(d_gate, place.column);
                                     words[1] = groups.load_words(d_up, place.column);
                                     return;
                                   }
                                   float g[kGroup], u[kGroup], d[kGroup];
                                   groups.load_fixed(gate + place.at, place.column, g);
                                   groups.load_fixed(up + place.at, place.column, u);
                                   groups.load_fixed(dh + place.at, place.column, d);
#pragma unroll
                                   for (int e = 0; e < kGroup; ++e) {
                                     const float sigma = sigmoid(g[e]);
                                     u[e] = d[e] * u[e] * sigma * fmaf(g[e], 1 - sigma, 1.0F);
                                     d[e] = d[e] * (g[e] * sigma);
                                   }
                                   words[0] = groups.store(place.real, d_gate, place.column, u);
                                   words[1] = groups.store(place.real, d_up, place.column, d);
                                 });
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) swiglu_backward_bf16(SwigluBackwardKernelArgs args) {
  swiglu_backward<__nv_bfloat16, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) swiglu_backward_f16(SwigluBackwardKernelArgs args) {
  swiglu_backward<__half, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) swiglu_backward_f32(SwigluBackwardKernelArgs args) {
  swiglu_backward<float, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 2) swiglu_backward_tall_bf16(SwigluBackwardKernelArgs args) {
  swiglu_backward<__nv_bfloat16, Tall>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 2) swiglu_backward_tall_f16(SwigluBackwardKernelArgs args) {
  swiglu_backward<__half, Tall>(args);
}
