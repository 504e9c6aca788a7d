// swiglu and swiglu_backward.
#include "cuda/kernels/swiglu.h"

#include "core/error.h"
#include "cuda/alignment.h"
#include "cuda/cuda_backend.h"
#include "cuda/row_kernel.h"

namespace tinylora {

namespace {

constexpr cuda::RowKernel kSwiglu{
    "swiglu", "swiglu_f32", {"swiglu_bf16", "swiglu_tall_bf16"}, {"swiglu_f16", "swiglu_tall_f16"}};
constexpr cuda::RowKernel kSwigluBackward{"swiglu_backward",
                                          "swiglu_backward_f32",
                                          {"swiglu_backward_bf16", "swiglu_backward_tall_bf16"},
                                          {"swiglu_backward_f16", "swiglu_backward_tall_f16"}};

/// Two gradients that one kernel makes, with at most one product each: both with a task or neither, of rank 0 where
/// there is no update.
cuda::LowRankArgs side_by_side(const cuda::LowRankArgs& first, const cuda::LowRankArgs& second) {
  if (first.tasks + second.tasks == 0) return first;
  cuda::LowRankArgs both = first.tasks > 0 ? first : second;
  cuda::LowRankTask none = both.task[0];
  none.rank = 0;
  both.tasks = 2;
  both.vector = first.vector && second.vector;
  both.task[0] = first.tasks > 0 ? first.task[0] : none;
  both.task[1] = second.tasks > 0 ? second.task[0] : none;
  return both;
}

}  // namespace

void CudaBackend::swiglu(const SwigluArgs& args) {
  const std::span readers(args.readers.first, static_cast<std::size_t>(args.readers.count));
  check(readers.size() <= 1, "ERR_ARGUMENT", "cuda: swiglu: expected at most one product of h, found ", readers.size());
  const RowsOf h{args.h, args.rows, args.width};
  const cuda::SwigluKernelArgs kernel{
      args.gate, args.up, args.h, low_rank_of("swiglu", h, readers, prepared_, cuda::all_aligned(args.gate, args.up))};
  cuda::launch_rows(*device_, kSwiglu, dtype_, args.rows, kernel);
}

void CudaBackend::swiglu_backward(const SwigluBackwardArgs& args) {
  const std::span readers(args.readers, args.readers != nullptr ? 2 : 0);
  const RowsOf gradients[] = {{args.d_gate, args.rows, args.width}, {args.d_up, args.rows, args.width}};
  const bool aligned = cuda::all_aligned(args.gate, args.up, args.dh, args.d_gate, args.d_up);
  const auto low_rank = low_rank_of("swiglu_backward", gradients, readers, prepared_, aligned);
  const cuda::SwigluBackwardKernelArgs kernel{args.gate,   args.up,   args.dh,
                                              args.d_gate, args.d_up, side_by_side(low_rank[0], low_rank[1])};
  cuda::launch_rows(*device_, kSwigluBackward, dtype_, args.rows, kernel);
  add_rank_gradients(readers);
}

}  // namespace tinylora
