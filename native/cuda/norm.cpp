// rms_norm and rms_norm_backward.
#include "cuda/kernels/norm.h"

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"

namespace tinylora {

using cuda::kNormThreads;
using cuda::launch;

void CudaBackend::rms_norm(const RmsNormArgs& args) {
  const cuda::RmsNormKernelArgs kernel{args.x, args.gain, args.y, args.inv_rms, args.epsilon, args.width};
  launch(*device_, "norm", pick("rms_norm_bf16", "rms_norm_f32"),
         {.grid = {static_cast<unsigned>(args.rows)}, .block = kNormThreads}, kernel);
}

void CudaBackend::rms_norm_backward(const RmsNormBackwardArgs& args) {
  const cuda::RmsNormBackwardKernelArgs kernel{args.x, args.gain, args.inv_rms, args.dy, args.dx, args.width};
  launch(*device_, "norm", "rms_norm_backward", {.grid = {static_cast<unsigned>(args.rows)}, .block = kNormThreads},
         kernel);
}

}  // namespace tinylora
