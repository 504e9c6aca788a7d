#include "cuda/kernels/attention.h"

#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"
#include "cuda/shapes.h"

namespace tinylora {
namespace {

/// By padded head_dim: 32, 64, 128.
struct TensorKernels {
  const char* many[3];
  const char* decode[3];
  const char* combine;
};
constexpr TensorKernels kBf16 = {{"attention_bf16_32", "attention_bf16_64", "attention_bf16_128"},
                                 {"attention_decode_bf16_32", "attention_decode_bf16_64", "attention_decode_bf16_128"},
                                 "attention_combine_bf16"};
constexpr TensorKernels kF16 = {{"attention_f16_32", "attention_f16_64", "attention_f16_128"},
                                {"attention_decode_f16_32", "attention_decode_f16_64", "attention_decode_f16_128"},
                                "attention_combine_f16"};

/// Blocks that splits are spread over: about two for each place on the largest of today's devices. Past that a block
/// takes several splits in turn. A constant, so that a graph's grid hangs on the shape of its batch alone.
constexpr unsigned kDecodeBlocks = 1024;

}  // namespace

void CudaBackend::attention(const AttentionArgs& args) {
  cuda::check_heads("attention", args.heads, args.kv_heads, args.head_dim);
  const SequenceLayout& layout = *args.layout;
  const int group = args.heads / args.kv_heads;
  const auto kv_heads = static_cast<unsigned>(args.kv_heads);
  const cuda::AttentionTask task{layout, args, {}};
  // Which kernels a model gets hangs on its heads alone; decoding and spans of many rows add in the same order.
  const int padded_dim = args.head_dim % 8 == 0 ? cuda::padded_head_dim(args.head_dim) : 0;
  if (half() && padded_dim > 0) {
    if (layout.rows == layout.spans) return attention_decode(args, padded_dim);
    const TensorKernels& kernels = dtype_ == DType::bf16 ? kBf16 : kF16;
    cuda::launch(*device_, "attention", kernels.many[padded_dim / 64],
                 {.grid = {cuda::most_tiles(layout, group, cuda::kAttentionWarps * cuda::kAttentionTile), kv_heads},
                  .block = cuda::kAttentionWarps * 32,
                  .shared_bytes = cuda::attention_shared_bytes(padded_dim)},
                 task);
    return;
  }
  cuda::launch(*device_, "attention_simt", pick("attention_simt_bf16", "attention_simt_f16", "attention_simt_f32"),
               {.grid = {cuda::most_tiles(layout, group, cuda::kSimtAttentionWarps), kv_heads},
                .block = cuda::kSimtAttentionWarps * 32,
                .shared_bytes = static_cast<unsigned>(cuda::kSimtAttentionWarps * args.head_dim) * 4},
               task);
}

void CudaBackend::attention_decode(const AttentionArgs& args, int padded_dim) {
  const SequenceLayout& layout = *args.layout;
  const TensorKernels& kernels = dtype_ == DType::bf16 ? kBf16 : kF16;
  const unsigned splits = cuda::ceil_div(layout.max_pages, cuda::kSplitPages);
  const unsigned tiles = static_cast<unsigned>(layout.spans) *
                         cuda::ceil_div(args.heads / args.kv_heads, cuda::kAttentionWarps * cuda::kAttentionTile);
  const auto kv_heads = static_cast<unsigned>(args.kv_heads);
  const unsigned at_once = std::clamp(kDecodeBlocks / std::max(1U, tiles * kv_heads), 1U, splits);

  cuda::AttentionTask task{layout, args, {}};
  const std::size_t queries = static_cast<std::size_t>(layout.rows) * static_cast<std::size_t>(args.heads);
  if (splits > 1) {
    const std::size_t parts = splits * queries;
    task.parts.out = attention_parts_.get<float>(*device_, parts * (static_cast<std::size_t>(args.head_dim) + 2));
    task.parts.largest = task.parts.out + parts * static_cast<std::size_t>(args.head_dim);
    task.parts.total = task.parts.largest + parts;
  }
  cuda::launch(*device_, "attention_decode", kernels.decode[padded_dim / 64],
               {.grid = {tiles, kv_heads, at_once},
                .block = cuda::kAttentionWarps * 32,
                .shared_bytes = cuda::attention_shared_bytes(padded_dim)},
               task);
  if (splits == 1) return;
  cuda::launch(*device_, "attention_decode", kernels.combine,
               {.grid = {cuda::ceil_div(queries, cuda::kCombineWarps)}, .block = cuda::kCombineWarps * 32}, task);
}

}  // namespace tinylora
