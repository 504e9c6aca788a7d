// swiglu and swiglu_backward.
#include "cuda/kernels/swiglu.h"

#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"

namespace tinylora {

using cuda::launch;

namespace {

constexpr int kBlock = 256;
constexpr int kWide = 8;  // elements a thread takes at a time

template <typename... Pointers>
int aligned(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...) ? 1 : 0;
}

cuda::Shape shape_for(const cuda::Device& device, std::int64_t count) {
  const auto blocks = std::min<std::int64_t>((count + kBlock * kWide - 1) / (kBlock * kWide),
                                             std::int64_t{16} * device.multiprocessors());
  return {.grid = {static_cast<unsigned>(blocks)}, .block = kBlock};
}

}  // namespace

void CudaBackend::swiglu(const SwigluArgs& args) {
  const std::int64_t count = std::int64_t{args.rows} * args.width;
  const cuda::SwigluKernelArgs kernel{args.gate, args.up, args.h, count, aligned(args.gate, args.up, args.h)};
  launch(*device_, "swiglu", pick("swiglu_bf16", "swiglu_f32"), shape_for(*device_, count), kernel);
}

void CudaBackend::swiglu_backward(const SwigluBackwardArgs& args) {
  const std::int64_t count = std::int64_t{args.rows} * args.width;
  const cuda::SwigluBackwardKernelArgs kernel{args.gate,
                                              args.up,
                                              args.dh,
                                              args.d_gate,
                                              args.d_up,
                                              count,
                                              aligned(args.gate, args.up, args.dh, args.d_gate, args.d_up)};
  launch(*device_, "swiglu", pick("swiglu_backward_bf16", "swiglu_backward_f32"), shape_for(*device_, count), kernel);
}

}  // namespace tinylora
