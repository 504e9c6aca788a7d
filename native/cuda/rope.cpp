#include "cuda/kernels/rope.h"

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"
#include "cuda/shapes.h"

namespace tinylora {

void CudaBackend::rope_store(const RopeStoreArgs& args) {
  cuda::check_heads("rope_store", args.heads, args.kv_heads, args.head_dim);
  const std::int64_t warps =
      std::int64_t{args.layout->rows} * args.heads + std::int64_t{args.layout->stores} * args.kv_heads;
  cuda::launch(*device_, "rope", pick("rope_store_bf16", "rope_store_f32"),
               {.grid = {cuda::ceil_div(warps, cuda::kRopeWarps)}, .block = cuda::kRopeWarps * 32},
               cuda::RopeStoreTask{*args.layout, args});
}

void CudaBackend::rope_store_backward(const RopeStoreBackwardArgs& args) {
  cuda::check_heads("rope_store_backward", args.heads, args.kv_heads, args.head_dim);
  const std::int64_t warps = std::int64_t{args.layout->rows} * (args.heads + args.kv_heads);
  cuda::launch(*device_, "rope", pick("rope_store_backward_bf16", "rope_store_backward_f32"),
               {.grid = {cuda::ceil_div(warps, cuda::kRopeWarps)}, .block = cuda::kRopeWarps * 32},
               cuda::RopeStoreBackwardTask{*args.layout, args});
}

}  // namespace tinylora
