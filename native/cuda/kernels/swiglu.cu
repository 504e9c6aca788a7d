// swiglu           h = silu(gate) * up,  silu(g) = g sigma,  sigma = 1 / (1 + exp(-g))
// swiglu_backward  d_gate = dh * up * sigma * (1 + gate (1 - sigma)),  d_up = dh * silu(gate)
//
// A block a row, a thread eight neighbours at a time (group.cuh), and z of down_proj, or s of gate_proj and up_proj, of
// the values it has just made (low_rank.cuh). Bytes an element: forward 3 acts, backward 4 acts and a float; d_up is
// read again for s, from L2. Limit: memory.
#include "low_rank.cuh"
#include "swiglu.h"

using namespace tinylora::cuda;

namespace {

__device__ float sigmoid(float g) { return 1 / (1 + expf(-g)); }

template <typename Act>
__device__ void swiglu(const SwigluKernelArgs& args) {
  const LowRankArgs& low_rank = args.low_rank;
  const int64_t row = blockIdx.x, begin = row * low_rank.k;
  const Act* gate = static_cast<const Act*>(args.gate) + begin;
  const Act* up = static_cast<const Act*>(args.up) + begin;
  Act* h = static_cast<Act*>(args.h) + begin;
  low_rank_row(low_rank, row, [&](int i, bool first, float(&values)[kGroup]) {
    if (!first) return load_group(low_rank, h, i, values);
    float g[kGroup], u[kGroup];
    load_group(low_rank, gate, i, g);
    load_group(low_rank, up, i, u);
#pragma unroll
    for (int e = 0; e < kGroup; ++e) values[e] = g[e] * sigmoid(g[e]) * u[e];
    store_group(low_rank, h, i, values);
  });
}

template <typename Act>
__device__ void swiglu_backward(const SwigluBackwardKernelArgs& args) {
  const LowRankArgs& of_gate = args.of_gate;
  const int64_t row = blockIdx.x, begin = row * of_gate.k;
  const Act* gate = static_cast<const Act*>(args.gate) + begin;
  const Act* up = static_cast<const Act*>(args.up) + begin;
  const float* dh = args.dh + begin;
  Act* d_gate = static_cast<Act*>(args.d_gate) + begin;
  Act* d_up = static_cast<Act*>(args.d_up) + begin;
  low_rank_row(of_gate, row, [&](int i, bool first, float(&values)[kGroup]) {
    if (!first) return load_group(of_gate, d_gate, i, values);
    float g[kGroup], u[kGroup], d[kGroup];
    load_group(of_gate, gate, i, g);
    load_group(of_gate, up, i, u);
    load_group(of_gate, dh, i, d);
#pragma unroll
    for (int e = 0; e < kGroup; ++e) {
      const float sigma = sigmoid(g[e]);
      values[e] = d[e] * u[e] * sigma * fmaf(g[e], 1 - sigma, 1.0F);
      u[e] = d[e] * (g[e] * sigma);
    }
    store_group(of_gate, d_gate, i, values);
    store_group(of_gate, d_up, i, u);
  });
  if (args.of_up.tasks == 0) return;
  low_rank_row(args.of_up, row, [&](int i, bool, float(&values)[kGroup]) { load_group(args.of_up, d_up, i, values); });
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kRowThreads) swiglu_bf16(SwigluKernelArgs args) {
  swiglu<__nv_bfloat16>(args);
}
extern "C" __global__ void __launch_bounds__(kRowThreads) swiglu_f16(SwigluKernelArgs args) { swiglu<__half>(args); }
extern "C" __global__ void __launch_bounds__(kRowThreads) swiglu_f32(SwigluKernelArgs args) { swiglu<float>(args); }
extern "C" __global__ void __launch_bounds__(kRowThreads) swiglu_backward_bf16(SwigluBackwardKernelArgs args) {
  swiglu_backward<__nv_bfloat16>(args);
}
extern "C" __global__ void __launch_bounds__(kRowThreads) swiglu_backward_f16(SwigluBackwardKernelArgs args) {
  swiglu_backward<__half>(args);
}
extern "C" __global__ void __launch_bounds__(kRowThreads) swiglu_backward_f32(SwigluBackwardKernelArgs args) {
  swiglu_backward<float>(args);
}
