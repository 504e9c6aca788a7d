#include "cuda/kernels/attention.h"

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"
#include "cuda/shapes.h"

namespace tinylora {
namespace {

/// By padded head_dim: 32, 64, 128.
struct TensorKernels {
  const char* many[3];
  const char* decode[3];
};
constexpr TensorKernels kBf16 = {{"attention_bf16_32", "attention_bf16_64", "attention_bf16_128"},
                                 {"attention_decode_bf16_32", "attention_decode_bf16_64", "attention_decode_bf16_128"}};
constexpr TensorKernels kF16 = {{"attention_f16_32", "attention_f16_64", "attention_f16_128"},
                                {"attention_decode_f16_32", "attention_decode_f16_64", "attention_decode_f16_128"}};

}  // namespace

void CudaBackend::attention(const AttentionArgs& args) {
  cuda::check_heads("attention", args.heads, args.kv_heads, args.head_dim);
  const SequenceLayout& layout = *args.layout;
  const int group = args.heads / args.kv_heads;
  const auto kv_heads = static_cast<unsigned>(args.kv_heads);
  const cuda::AttentionTask task{layout, args};
  // Which kernel a model gets hangs on its heads alone; the number of warps does not change a bit.
  const int padded_dim = args.head_dim % 8 == 0 ? cuda::padded_head_dim(args.head_dim) : 0;
  if (half() && padded_dim > 0) {
    const bool decode = layout.rows == layout.spans;
    const TensorKernels& kernels = dtype_ == DType::bf16 ? kBf16 : kF16;
    const int size = padded_dim / 64;
    const int warps = decode ? cuda::kDecodeWarps : cuda::kAttentionWarps;
    cuda::launch(*device_, "attention", decode ? kernels.decode[size] : kernels.many[size],
                 {.grid = {cuda::most_tiles(layout, group, warps * cuda::kAttentionTile), kv_heads},
                  .block = static_cast<unsigned>(warps) * 32,
                  .shared_bytes = cuda::attention_shared_bytes(padded_dim)},
                 task);
    return;
  }
  cuda::launch(*device_, "attention", pick("attention_simt_bf16", "attention_simt_f16", "attention_simt_f32"),
               {.grid = {cuda::most_tiles(layout, group, cuda::kSimtAttentionWarps), kv_heads},
                .block = cuda::kSimtAttentionWarps * 32,
                .shared_bytes = static_cast<unsigned>(cuda::kSimtAttentionWarps * args.head_dim) * 4},
               task);
}

}  // namespace tinylora
