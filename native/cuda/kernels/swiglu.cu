// swiglu           h = silu(gate) * up,  silu(g) = g sigma,  sigma = 1 / (1 + exp(-g))
// swiglu_backward  d_gate = dh * up * sigma * (1 + gate (1 - sigma)),  d_up = dh * silu(gate)
//
// One thread takes eight neighbours with loads and stores of 16 bytes, where the arrays are aligned for it; the few
// left at the end, or all of them otherwise, go one by one. Bytes an element: forward 3 acts, backward 4 acts and a
// float. Limit: memory.
#include "act.cuh"
#include "swiglu.h"

using namespace tinylora::cuda;

namespace {

constexpr int kWide = 8;

__device__ void load8(const float* p, float (&values)[kWide]) {
  const float4 low = reinterpret_cast<const float4*>(p)[0], high = reinterpret_cast<const float4*>(p)[1];
  values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
  values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}

__device__ void load8(const __nv_bfloat16* p, float (&values)[kWide]) {
  const uint4 words = *reinterpret_cast<const uint4*>(p);
  const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    values[2 * i] = __uint_as_float(word[i] << 16);
    values[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000U);
  }
}

__device__ void store8(float* p, const float (&values)[kWide]) {
  reinterpret_cast<float4*>(p)[0] = make_float4(values[0], values[1], values[2], values[3]);
  reinterpret_cast<float4*>(p)[1] = make_float4(values[4], values[5], values[6], values[7]);
}

__device__ void store8(__nv_bfloat16* p, const float (&values)[kWide]) {
  *reinterpret_cast<uint4*>(p) = make_uint4(pack_bf16(values[0], values[1]), pack_bf16(values[2], values[3]),
                                            pack_bf16(values[4], values[5]), pack_bf16(values[6], values[7]));
}

__device__ float sigmoid(float g) { return 1 / (1 + expf(-g)); }

__device__ float forward(float g, float u) { return g * sigmoid(g) * u; }

__device__ void backward(float g, float u, float dh, float& d_gate, float& d_up) {
  const float sigma = sigmoid(g);
  d_gate = dh * u * sigma * fmaf(g, 1 - sigma, 1.0F);
  d_up = dh * (g * sigma);
}

template <typename Act>
__device__ void swiglu(const SwigluKernelArgs& args) {
  const Act* gate = static_cast<const Act*>(args.gate);
  const Act* up = static_cast<const Act*>(args.up);
  Act* h = static_cast<Act*>(args.h);
  const int64_t thread = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, threads = int64_t{gridDim.x} * blockDim.x;
  const int64_t wide = args.vector ? args.count / kWide : 0;
  for (int64_t i = thread; i < wide; i += threads) {
    float g[kWide], u[kWide];
    load8(gate + kWide * i, g);
    load8(up + kWide * i, u);
#pragma unroll
    for (int j = 0; j < kWide; ++j) g[j] = forward(g[j], u[j]);
    store8(h + kWide * i, g);
  }
  for (int64_t i = kWide * wide + thread; i < args.count; i += threads)
    store(h + i, forward(load(gate + i), load(up + i)));
}

template <typename Act>
__device__ void swiglu_backward(const SwigluBackwardKernelArgs& args) {
  const Act* gate = static_cast<const Act*>(args.gate);
  const Act* up = static_cast<const Act*>(args.up);
  Act* d_gate = static_cast<Act*>(args.d_gate);
  Act* d_up = static_cast<Act*>(args.d_up);
  const int64_t thread = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, threads = int64_t{gridDim.x} * blockDim.x;
  const int64_t wide = args.vector ? args.count / kWide : 0;
  for (int64_t i = thread; i < wide; i += threads) {
    float g[kWide], u[kWide], dh[kWide];
    load8(gate + kWide * i, g);
    load8(up + kWide * i, u);
    load8(args.dh + kWide * i, dh);
#pragma unroll
    for (int j = 0; j < kWide; ++j) backward(g[j], u[j], dh[j], g[j], u[j]);
    store8(d_gate + kWide * i, g);
    store8(d_up + kWide * i, u);
  }
  for (int64_t i = kWide * wide + thread; i < args.count; i += threads) {
    float g = 0, u = 0;
    backward(load(gate + i), load(up + i), args.dh[i], g, u);
    store(d_gate + i, g);
    store(d_up + i, u);
  }
}

}  // namespace

extern "C" __global__ void swiglu_bf16(SwigluKernelArgs args) { swiglu<__nv_bfloat16>(args); }
extern "C" __global__ void swiglu_f32(SwigluKernelArgs args) { swiglu<float>(args); }
extern "C" __global__ void swiglu_backward_bf16(SwigluBackwardKernelArgs args) { swiglu_backward<__nv_bfloat16>(args); }
extern "C" __global__ void swiglu_backward_f32(SwigluBackwardKernelArgs args) { swiglu_backward<float>(args); }
