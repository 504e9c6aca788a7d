// attention_backward in two launches, over queries (dq) and over pages (d_keys, d_values): on tensor cores in bf16 and
// fp16 for the head sizes that have such kernels, else on the ordinary units.
#include "cuda/cuda_backend.h"
#include "cuda/grids.h"
#include "cuda/kernels/attention.h"
#include "cuda/launch.h"
#include "cuda/shapes.h"

namespace tinylora {
namespace {

struct Kernels {
  const char* dq;
  const char* dkv;
};

/// By padded head_dim: 32, 64, 128.
constexpr Kernels kTensorBf16[] = {{"attention_dq_bf16_32", "attention_dkv_bf16_32"},
                                   {"attention_dq_bf16_64", "attention_dkv_bf16_64"},
                                   {"attention_dq_bf16_128", "attention_dkv_bf16_128"}};
constexpr Kernels kTensorF16[] = {{"attention_dq_f16_32", "attention_dkv_f16_32"},
                                  {"attention_dq_f16_64", "attention_dkv_f16_64"},
                                  {"attention_dq_f16_128", "attention_dkv_f16_128"}};

/// By head_dim up to 64, 128, 256.
constexpr Kernels kF32[] = {{"attention_dq_64_f32", "attention_dkv_64_f32"},
                            {"attention_dq_128_f32", "attention_dkv_128_f32"},
                            {"attention_dq_256_f32", "attention_dkv_256_f32"}};
/// Any head_dim that no tensor-core kernel takes.
constexpr Kernels kBf16 = {"attention_dq_256_bf16", "attention_dkv_256_bf16"};
constexpr Kernels kF16 = {"attention_dq_256_f16", "attention_dkv_256_f16"};

}  // namespace

void CudaBackend::attention_backward(const AttentionBackwardArgs& args) {
  cuda::check_heads("attention_backward", args.heads, args.kv_heads, args.head_dim);
  const SequenceLayout& layout = *args.layout;
  const auto kv_heads = static_cast<unsigned>(args.kv_heads);
  const cuda::Dim3 page_grid = cuda::page_grid(layout, args.kv_heads);
  const auto tile_grid = [&](int queries) {
    return cuda::Dim3{cuda::most_tiles(layout, args.heads / args.kv_heads, queries), kv_heads};
  };
  const std::size_t queries = std::size_t(layout.rows) * std::size_t(args.heads);
  const auto delta = device_->scratch(queries * sizeof(float));
  cuda::AttentionBackwardTask task{layout, args, static_cast<float*>(delta.get()), nullptr, nullptr};

  const int padded_dim = args.head_dim % 8 == 0 ? cuda::padded_head_dim(args.head_dim) : 0;
  if (half() && padded_dim > 0) {
    const std::size_t bytes = queries * std::size_t(args.head_dim) * 2;
    const auto rounded = device_->scratch(bytes), rest = device_->scratch(bytes);
    task.rounded_d_out = rounded.get();
    task.rest_of_d_out = rest.get();
    const Kernels& kernels = (dtype_ == DType::bf16 ? kTensorBf16 : kTensorF16)[padded_dim / 64];
    cuda::launch(*device_, "attention_backward_half", kernels.dq,
                 {.grid = tile_grid(cuda::kAttentionWarps * cuda::kAttentionTile),
                  .block = cuda::kAttentionThreads,
                  .shared_bytes = cuda::attention_shared_bytes(padded_dim)},
                 task);
    cuda::launch(
        *device_, "attention_backward_half", kernels.dkv,
        {.grid = page_grid, .block = cuda::kQueryThreads, .shared_bytes = cuda::query_stream_shared_bytes(padded_dim)},
        task);
    return;
  }
  const Kernels& kernels = by_dtype(kBf16, kF16, kF32[args.head_dim <= 64 ? 0 : args.head_dim <= 128 ? 1 : 2]);
  const unsigned shared_bytes = cuda::gradient_shared_bytes(args.head_dim);
  cuda::launch(*device_, "attention_backward", kernels.dq,
               {.grid = tile_grid(cuda::kGradientTile), .block = cuda::kGradientThreads, .shared_bytes = shared_bytes},
               task);
  cuda::launch(*device_, "attention_backward", kernels.dkv,
               {.grid = page_grid, .block = cuda::kGradientThreads, .shared_bytes = shared_bytes}, task);
}

}  // namespace tinylora
