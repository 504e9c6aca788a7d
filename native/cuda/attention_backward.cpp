#include "cuda/cuda_backend.h"
#include "cuda/kernels/attention.h"
#include "cuda/launch.h"
#include "cuda/shapes.h"

namespace tinylora {
namespace {

struct Kernels {
  const char* dq;
  const char* dkv;
};

/// By head_dim up to 64, 128, 256.
constexpr Kernels kBf16[] = {{"attention_dq_64_bf16", "attention_dkv_64_bf16"},
                             {"attention_dq_128_bf16", "attention_dkv_128_bf16"},
                             {"attention_dq_256_bf16", "attention_dkv_256_bf16"}};
constexpr Kernels kF16[] = {{"attention_dq_64_f16", "attention_dkv_64_f16"},
                            {"attention_dq_128_f16", "attention_dkv_128_f16"},
                            {"attention_dq_256_f16", "attention_dkv_256_f16"}};
constexpr Kernels kF32[] = {{"attention_dq_64_f32", "attention_dkv_64_f32"},
                            {"attention_dq_128_f32", "attention_dkv_128_f32"},
                            {"attention_dq_256_f32", "attention_dkv_256_f32"}};

}  // namespace

void CudaBackend::attention_backward(const AttentionBackwardArgs& args) {
  cuda::check_heads("attention_backward", args.heads, args.kv_heads, args.head_dim);
  const SequenceLayout& layout = *args.layout;
  const auto kv_heads = static_cast<unsigned>(args.kv_heads);
  const auto delta = device_->scratch(std::size_t(layout.rows) * std::size_t(args.heads) * sizeof(float));
  const cuda::AttentionBackwardTask task{layout, args, static_cast<float*>(delta.get())};
  const Kernels& kernels = by_dtype(kBf16, kF16, kF32)[args.head_dim <= 64 ? 0 : args.head_dim <= 128 ? 1 : 2];
  const auto shared_bytes = static_cast<unsigned>(4 * cuda::kGradientTile * (args.head_dim + 1)) * 4;
  cuda::launch(*device_, "attention_backward", kernels.dq,
               {.grid = {cuda::most_tiles(layout, args.heads / args.kv_heads, cuda::kGradientTile), kv_heads},
                .block = cuda::kGradientThreads,
                .shared_bytes = shared_bytes},
               task);
  const auto pages = static_cast<unsigned>(layout.rows > 0 ? layout.max_position / kPageSize + 1 : 0);
  cuda::launch(*device_, "attention_backward", kernels.dkv,
               {.grid = {pages, static_cast<unsigned>(layout.spans), kv_heads},
                .block = cuda::kGradientThreads,
                .shared_bytes = shared_bytes},
               task);
}

}  // namespace tinylora
