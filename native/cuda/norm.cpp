// rms_norm and rms_norm_backward.
#include "cuda/kernels/norm.h"

#include "cuda/alignment.h"
#include "cuda/cuda_backend.h"
#include "cuda/row_kernel.h"

namespace tinylora {

namespace {

constexpr cuda::RowKernel kRmsNorm{
    "norm", "rms_norm_f32", {"rms_norm_bf16", "rms_norm_tall_bf16"}, {"rms_norm_f16", "rms_norm_tall_f16"}};

}  // namespace

void CudaBackend::rms_norm(const RmsNormArgs& args) {
  const std::span readers(args.readers.first, static_cast<std::size_t>(args.readers.count));
  const RowsOf y{args.y, args.rows, args.width};
  const cuda::RmsNormKernelArgs kernel{
      args.x,
      args.gain,
      args.y,
      args.inv_rms,
      low_rank_of("rms_norm", y, readers, prepared_, cuda::all_aligned(args.x, args.gain)),
      args.epsilon,
      0};
  cuda::launch_rows(*device_, kRmsNorm, dtype_, args.rows, kernel);
}

void CudaBackend::rms_norm_backward(const RmsNormBackwardArgs& args) {
  const cuda::RmsNormBackwardKernelArgs kernel{args.x, args.gain, args.inv_rms, args.dy, args.dx, args.width};
  cuda::launch(*device_, "norm", "rms_norm_backward",
               {.grid = {static_cast<unsigned>(args.rows)}, .block = cuda::kNormBackwardThreads}, kernel);
}

}  // namespace tinylora
