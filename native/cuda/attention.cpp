#include "cuda/kernels/attention.h"

#include <algorithm>
#include <cstddef>

#include "cuda/cuda_backend.h"
#include "cuda/launch.h"
#include "cuda/shapes.h"

namespace tinylora {
namespace {

/// By padded head_dim: 32, 64, 128.
struct TensorKernels {
  const char* many[3];
  const char* decode[3];  // nothing shared
  const char* group[3];
  const char* combine;
};
constexpr TensorKernels kBf16 = {
    {"attention_bf16_32", "attention_bf16_64", "attention_bf16_128"},
    {"attention_decode_bf16_32", "attention_decode_bf16_64", "attention_decode_bf16_128"},
    {"attention_decode_group_bf16_32", "attention_decode_group_bf16_64", "attention_decode_group_bf16_128"},
    "attention_combine_bf16"};
constexpr TensorKernels kF16 = {
    {"attention_f16_32", "attention_f16_64", "attention_f16_128"},
    {"attention_decode_f16_32", "attention_decode_f16_64", "attention_decode_f16_128"},
    {"attention_decode_group_f16_32", "attention_decode_group_f16_64", "attention_decode_group_f16_128"},
    "attention_combine_f16"};

/// Blocks that splits are spread over: about two for each place on the largest of today's devices. Past that a block
/// takes several splits in turn. A constant, so that a graph's grid hangs on the shape of its batch alone.
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
  // Which kernels a model gets hangs on its heads alone; decoding and spans of many rows add in the same order.
  const int padded_dim = args.head_dim % 8 == 0 ? cuda::padded_head_dim(args.head_dim) : 0;
  if (half() && padded_dim > 0) {
    const int decodes = layout.decode_spans;
    const SequenceLayout one = part_of(layout, 0, decodes, decodes);
    const SequenceLayout many = part_of(layout, decodes, layout.spans, layout.rows - decodes);
    AttentionArgs part = args;
    part.layout = &one;
    if (one.spans > 0) attention_decode(part, padded_dim);
    part.layout = &many;
    if (many.spans > 0) attention_many(part, padded_dim);
    return;
  }
  cuda::launch(*device_, "attention_simt", pick("attention_simt_bf16", "attention_simt_f16", "attention_simt_f32"),
               {.grid = {cuda::most_tiles(layout, args.heads / args.kv_heads, cuda::kSimtAttentionWarps),
                         static_cast<unsigned>(args.kv_heads)},
                .block = cuda::kSimtAttentionWarps * 32,
                .shared_bytes = static_cast<unsigned>(cuda::kSimtAttentionWarps * args.head_dim) * 4},
               cuda::AttentionTask{layout, args, {}});
}

/// Spans of any number of rows.
void CudaBackend::attention_many(const AttentionArgs& args, int padded_dim) {
  const TensorKernels& kernels = dtype_ == DType::bf16 ? kBf16 : kF16;
  const unsigned tiles =
      cuda::most_tiles(*args.layout, args.heads / args.kv_heads, cuda::kAttentionWarps * cuda::kAttentionTile);
  cuda::launch(*device_, "attention", kernels.many[padded_dim / 64],
               {.grid = {tiles, static_cast<unsigned>(args.kv_heads)},
                .block = cuda::kAttentionThreads,
                .shared_bytes = cuda::attention_shared_bytes(padded_dim)},
               cuda::AttentionTask{*args.layout, args, {}});
}

/// Spans of one row.
void CudaBackend::attention_decode(const AttentionArgs& args, int padded_dim) {
  const SequenceLayout& layout = *args.layout;
  const TensorKernels& kernels = dtype_ == DType::bf16 ? kBf16 : kF16;
  const unsigned splits = cuda::ceil_div(layout.max_pages, cuda::kSplitPages);
  const bool grouped = layout.most_shared >= cuda::kSplitPages;
  const int warps = grouped ? cuda::kAttentionWarps : 1;
  const unsigned tiles =
      static_cast<unsigned>(layout.spans) * cuda::ceil_div(args.heads / args.kv_heads, warps * cuda::kAttentionTile);
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
  cuda::launch(*device_, "attention_decode", (grouped ? kernels.group : kernels.decode)[padded_dim / 64],
               {.grid = {tiles, kv_heads, at_once},
                .block = static_cast<unsigned>(warps) * 32,
                .shared_bytes = cuda::attention_shared_bytes(padded_dim)},
               task);
  if (splits == 1) return;
  cuda::launch(*device_, "attention_decode", kernels.combine,
               {.grid = {cuda::ceil_div(queries, cuda::kCombineWarps)}, .block = cuda::kCombineWarps * 32}, task);
}

}  // namespace tinylora
