// swiglu and swiglu_backward.
#include "cuda/kernels/swiglu.h"

#include "cuda/alignment.h"
#include "cuda/cuda_backend.h"
#include "cuda/launch.h"

namespace tinylora {

using cuda::kRowThreads;
using cuda::launch;

void CudaBackend::swiglu(const SwigluArgs& args) {
  const std::span readers(args.readers.first, static_cast<std::size_t>(args.readers.count));
  const RowsOf h{args.h, args.rows, args.width};
  const cuda::SwigluKernelArgs kernel{
      args.gate, args.up, args.h, low_rank_of("swiglu", h, readers, prepared_, cuda::all_aligned(args.gate, args.up))};
  launch(*device_, "swiglu", pick("swiglu_bf16", "swiglu_f16", "swiglu_f32"),
         {.grid = {static_cast<unsigned>(args.rows)}, .block = kRowThreads}, kernel);
}

void CudaBackend::swiglu_backward(const SwigluBackwardArgs& args) {
  const std::span readers(args.readers, args.readers != nullptr ? 2 : 0);
  const RowsOf gradients[] = {{args.d_gate, args.rows, args.width}, {args.d_up, args.rows, args.width}};
  const bool aligned = cuda::all_aligned(args.gate, args.up, args.dh, args.d_gate, args.d_up);
  const auto low_rank = low_rank_of("swiglu_backward", gradients, readers, prepared_, aligned);
  const cuda::SwigluBackwardKernelArgs kernel{args.gate, args.up,     args.dh,    args.d_gate,
                                              args.d_up, low_rank[0], low_rank[1]};
  launch(*device_, "swiglu", pick("swiglu_backward_bf16", "swiglu_backward_f16", "swiglu_backward_f32"),
         {.grid = {static_cast<unsigned>(args.rows)}, .block = kRowThreads}, kernel);
  add_rank_gradients(readers);
}

}  // namespace tinylora
