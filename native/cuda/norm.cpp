// rms_norm and rms_norm_backward.
#include "cuda/kernels/norm.h"

#include "cuda/alignment.h"
#include "cuda/cuda_backend.h"
#include "cuda/launch.h"

namespace tinylora {

using cuda::kRowThreads;
using cuda::launch;

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
  launch(*device_, "norm", pick("rms_norm_bf16", "rms_norm_f16", "rms_norm_f32"),
         {.grid = {static_cast<unsigned>(args.rows)}, .block = kRowThreads}, kernel);
}

void CudaBackend::rms_norm_backward(const RmsNormBackwardArgs& args) {
  const cuda::RmsNormBackwardKernelArgs kernel{args.x, args.gain, args.inv_rms, args.dy, args.dx, args.width};
  launch(*device_, "norm", "rms_norm_backward", {.grid = {static_cast<unsigned>(args.rows)}, .block = kRowThreads},
         kernel);
}

}  // namespace tinylora
