#include "cuda/kernels/attention.h"

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"
#include "cuda/shapes.h"

namespace tinylora {
namespace {

const char* tensor_kernel(int padded_dim, bool decode) {
  if (padded_dim == 32) return decode ? "attention_decode_bf16_32" : "attention_bf16_32";
  if (padded_dim == 64) return decode ? "attention_decode_bf16_64" : "attention_bf16_64";
  return decode ? "attention_decode_bf16_128" : "attention_bf16_128";
}

}  // namespace

void CudaBackend::attention(const AttentionArgs& args) {
  cuda::check_heads("attention", args.heads, args.kv_heads, args.head_dim);
  const SequenceLayout& layout = *args.layout;
  const int group = args.heads / args.kv_heads;
  const auto kv_heads = static_cast<unsigned>(args.kv_heads);
  const cuda::AttentionTask task{layout, args};
  // Which kernel a model gets hangs on its heads alone; the number of warps does not change a bit.
  const int padded_dim = args.head_dim % 8 == 0 ? cuda::padded_head_dim(args.head_dim) : 0;
  if (bf16() && padded_dim > 0) {
    const bool decode = layout.rows == layout.spans;
    const int warps = decode ? cuda::kDecodeWarps : cuda::kAttentionWarps;
    cuda::launch(*device_, "attention", tensor_kernel(padded_dim, decode),
                 {.grid = {cuda::most_tiles(layout, group, warps * cuda::kAttentionTile), kv_heads},
                  .block = static_cast<unsigned>(warps) * 32,
                  .shared_bytes = cuda::attention_shared_bytes(padded_dim)},
                 task);
    return;
  }
  cuda::launch(*device_, "attention", pick("attention_simt_bf16", "attention_simt_f32"),
               {.grid = {cuda::most_tiles(layout, group, cuda::kSimtAttentionWarps), kv_heads},
                .block = cuda::kSimtAttentionWarps * 32,
                .shared_bytes = static_cast<unsigned>(cuda::kSimtAttentionWarps * args.head_dim) * 4},
               task);
}

}  // namespace tinylora
