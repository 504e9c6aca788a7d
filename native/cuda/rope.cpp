// rope_store and rope_store_backward.
#include "cuda/kernels/rope.h"

#include "cuda/cuda_backend.h"
#include "cuda/row_kernel.h"
#include "cuda/shapes.h"

namespace tinylora {

namespace {

constexpr cuda::RowKernel kRopeStoreBackward{"rope_backward",
                                             "rope_store_backward_f32",
                                             {"rope_store_backward_bf16", "rope_store_backward_tall_bf16"},
                                             {"rope_store_backward_f16", "rope_store_backward_tall_f16"}};

}  // namespace

void CudaBackend::rope_store(const RopeStoreArgs& args) {
  cuda::check_heads("rope_store", args.heads, args.kv_heads, args.head_dim);
  const std::int64_t warps =
      std::int64_t{args.layout->rows} * args.heads + std::int64_t{args.layout->stores} * args.kv_heads;
  cuda::launch(*device_, "rope", pick("rope_store_bf16", "rope_store_f16", "rope_store_f32"),
               {.grid = {cuda::ceil_div(warps, cuda::kRopeWarps)}, .block = cuda::kRopeWarps * 32},
               cuda::RopeStoreTask{*args.layout, args});
}

void CudaBackend::rope_store_backward(const RopeStoreBackwardArgs& args) {
  cuda::check_heads("rope_store_backward", args.heads, args.kv_heads, args.head_dim);
  const std::span readers(args.readers, args.readers != nullptr ? 3 : 0);
  const int rows = args.layout->rows, width = args.heads * args.head_dim, kv_width = args.kv_heads * args.head_dim;
  const RowsOf gradients[] = {{args.dq, rows, width}, {args.dk, rows, kv_width}, {args.dv, rows, kv_width}};
  const auto low_rank = low_rank_of("rope_store_backward", gradients, readers, prepared_, true);
  cuda::launch_rows(*device_, kRopeStoreBackward, dtype_, rows,
                    cuda::RopeStoreBackwardTask{*args.layout, args, low_rank[0], low_rank[1], low_rank[2]});
  add_rank_gradients(readers);
}

}  // namespace tinylora
