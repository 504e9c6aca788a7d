// attention: spans of one row, which come first in a sampler's batch, are decoded split by split, and a second launch
// adds up the splits of those that have several (kernels/attention_splits.cuh); the other spans take one launch.
#include "cuda/kernels/attention.h"

#include <algorithm>
#include <cstddef>

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"
#include "cuda/shapes.h"

namespace tinylora {

/// How attention of a model's heads is launched. Which kernels a model gets depends on its heads alone; decoding and
/// spans of many rows add in the same order.
struct cuda::AttentionKernels {
  struct Kernel {
    const char* file;
    const char* name;
    int tile;  // queries
    int threads;
    unsigned shared_bytes;
  };
  Kernel many;
  Kernel decode;  // nothing shared
  Kernel group;
  const char* combine;
};

namespace {

using cuda::AttentionKernels;
using Kernel = AttentionKernels::Kernel;

struct TensorNames {
  const char* many;
  const char* decode;  // nothing shared
  const char* group;
};
/// By padded head_dim: 32, 64, 128.
constexpr TensorNames kBf16[] = {
    {"attention_bf16_32", "attention_decode_bf16_32", "attention_decode_group_bf16_32"},
    {"attention_bf16_64", "attention_decode_bf16_64", "attention_decode_group_bf16_64"},
    {"attention_bf16_128", "attention_decode_bf16_128", "attention_decode_group_bf16_128"},
};
constexpr TensorNames kF16[] = {
    {"attention_f16_32", "attention_decode_f16_32", "attention_decode_group_f16_32"},
    {"attention_f16_64", "attention_decode_f16_64", "attention_decode_group_f16_64"},
    {"attention_f16_128", "attention_decode_f16_128", "attention_decode_group_f16_128"},
};

/// The same kernel decodes whether pages are shared or not: with few queries it spreads them over its warps.
template <int kDim, int kBytes>
AttentionKernels simt_kernels(const char* many, const char* decode, const char* combine) {
  using Shape = cuda::SimtShape<kDim>;
  constexpr int kMany = Shape::template kTile<Shape::kManySets>, kDecode = Shape::template kTile<Shape::kDecodeSets>;
  const auto kernel = [](const char* name, int tile) {
    return Kernel{"attention_simt", name, tile, cuda::kSimtThreads, cuda::simt_shared_bytes<kDim>(tile, kBytes)};
  };
  return {kernel(many, kMany), kernel(decode, kDecode), kernel(decode, kDecode), combine};
}

AttentionKernels kernels_of(DType dtype, int head_dim) {
  const bool half = dtype != DType::f32, bf16 = dtype == DType::bf16;
  const char* combine = bf16 ? "attention_combine_bf16" : half ? "attention_combine_f16" : "attention_combine_f32";
  const int padded_dim = head_dim % 8 == 0 ? cuda::padded_head_dim(head_dim) : 0;
  if (half && padded_dim > 0) {
    const TensorNames& names = (bf16 ? kBf16 : kF16)[padded_dim / 64];
    const auto kernel = [&](const char* file, const char* name, int warps) {
      return Kernel{file, name, warps * cuda::kAttentionTile, warps * 32, cuda::attention_shared_bytes(padded_dim)};
    };
    return {kernel("attention", names.many, cuda::kAttentionWarps), kernel("attention_decode", names.decode, 1),
            kernel("attention_decode", names.group, cuda::kAttentionWarps), combine};
  }
  if (bf16) return simt_kernels<256, 2>("attention_simt_bf16_256", "attention_simt_decode_bf16_256", combine);
  if (half) return simt_kernels<256, 2>("attention_simt_f16_256", "attention_simt_decode_f16_256", combine);
  if (head_dim <= 64) return simt_kernels<64, 4>("attention_simt_f32_64", "attention_simt_decode_f32_64", combine);
  if (head_dim <= 128) return simt_kernels<128, 4>("attention_simt_f32_128", "attention_simt_decode_f32_128", combine);
  return simt_kernels<256, 4>("attention_simt_f32_256", "attention_simt_decode_f32_256", combine);
}

/// Blocks that splits are spread over: about two for each place on the largest of today's devices. Past that a block
/// takes several splits in turn. A constant, so that a graph's grid depends on the shape of its batch alone.
constexpr unsigned kDecodeBlocks = 1024;

/// The layout of spans first .. end - 1 alone.
SequenceLayout part_of(const SequenceLayout& all, int first, int end, int rows) {
  SequenceLayout part = all;
  part.rows = rows;
  part.spans = end - first;
  part.span_row += first;
  part.span_rows += first;
  part.page_table += static_cast<std::ptrdiff_t>(first) * all.max_pages;
  return part;
}

}  // namespace

void CudaBackend::attention(const AttentionArgs& args) {
  cuda::check_heads("attention", args.heads, args.kv_heads, args.head_dim);
  const SequenceLayout& layout = *args.layout;
  const AttentionKernels kernels = kernels_of(dtype_, args.head_dim);
  const int decodes = layout.decode_spans;
  const SequenceLayout one = part_of(layout, 0, decodes, decodes);
  const SequenceLayout many = part_of(layout, decodes, layout.spans, layout.rows - decodes);
  cuda::AttentionTask task{one, args, attention_update(args), {}};
  if (one.spans > 0) attention_decode(task, kernels);
  task.layout = many;
  if (many.spans > 0) attention_many(task, kernels);
}

/// Spans of any number of rows.
void CudaBackend::attention_many(const cuda::AttentionTask& task, const AttentionKernels& kernels) {
  const Kernel& kernel = kernels.many;
  cuda::launch(*device_, kernel.file, kernel.name,
               {.grid = {cuda::most_tiles(task.layout, task.args.heads / task.args.kv_heads, kernel.tile),
                         static_cast<unsigned>(task.args.kv_heads)},
                .block = static_cast<unsigned>(kernel.threads),
                .shared_bytes = kernel.shared_bytes},
               task);
}

/// Spans of one row.
void CudaBackend::attention_decode(const cuda::AttentionTask& whole, const AttentionKernels& kernels) {
  const SequenceLayout& layout = whole.layout;
  const AttentionArgs& args = whole.args;
  const unsigned splits = cuda::ceil_div(layout.max_pages, cuda::kSplitPages);
  const Kernel& kernel = layout.most_shared >= cuda::kSplitPages ? kernels.group : kernels.decode;
  const unsigned tiles = static_cast<unsigned>(layout.spans) * cuda::ceil_div(args.heads / args.kv_heads, kernel.tile);
  const auto kv_heads = static_cast<unsigned>(args.kv_heads);
  const unsigned at_once = std::clamp(kDecodeBlocks / std::max(1U, tiles * kv_heads), 1U, splits);

  cuda::AttentionTask task = whole;
  const std::size_t queries = static_cast<std::size_t>(layout.rows) * static_cast<std::size_t>(args.heads);
  if (splits > 1) {
    const std::size_t parts = splits * queries;
    task.parts.out = attention_parts_.get<float>(*device_, parts * (static_cast<std::size_t>(args.head_dim) + 2));
    task.parts.largest = task.parts.out + parts * static_cast<std::size_t>(args.head_dim);
    task.parts.total = task.parts.largest + parts;
  }
  cuda::launch(*device_, kernel.file, kernel.name,
               {.grid = {tiles, kv_heads, at_once},
                .block = static_cast<unsigned>(kernel.threads),
                .shared_bytes = kernel.shared_bytes},
               task);
  if (splits == 1) return;
  cuda::launch(*device_, "attention_combine", kernels.combine,
               {.grid = {cuda::ceil_div(queries, cuda::kCombineWarps)}, .block = cuda::kCombineWarps * 32}, task);
}

}  // namespace tinylora
