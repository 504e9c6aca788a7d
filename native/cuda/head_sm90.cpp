#include "cuda/head_sm90.h"

#include "cuda/cuda_backend.h"
#include "cuda/kernels/head_sm90.h"

namespace tinylora::cuda {
namespace {

// As kernels/head_stats_sm90.cu, head_product_sm90.cu and head_sample_sm90.cu have them.
constexpr Sm90Kernel kStatsBf16[] = {{"head_stats_mid_bf16_sm90", 64, 128, 160, 99392, 1},
                                     {"head_stats_large_bf16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Kernel kStatsF16[] = {{"head_stats_mid_f16_sm90", 64, 128, 160, 99392, 1},
                                    {"head_stats_large_f16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Kernel kProductBf16[] = {{"head_product_mid_bf16_sm90", 64, 128, 160, 99392, 1},
                                       {"head_product_large_bf16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Kernel kProductF16[] = {{"head_product_mid_f16_sm90", 64, 128, 160, 99392, 1},
                                      {"head_product_large_f16_sm90", 128, 256, 384, 197696, 2}};
constexpr Sm90Kernel kSampleBf16 = {"head_sample_bf16_sm90", 64, 128, 128, 99904, 1};
constexpr Sm90Kernel kSampleF16 = {"head_sample_f16_sm90", 64, 128, 128, 99904, 1};

void encode_vocabulary(Device& device, TensorMap& map, DType dtype, const void* weight, int vocab, int stride,
                       int box_rows) {
  encode(device, map, dtype, weight, round_up(vocab, kPadOut), stride, box_rows);
}

}  // namespace

std::span<const Sm90Kernel> sm90_head_stats(DType dtype) {
  return dtype == DType::f16 ? std::span(kStatsF16) : std::span(kStatsBf16);
}

std::span<const Sm90Kernel> sm90_head_products(DType dtype) {
  return dtype == DType::f16 ? std::span(kProductF16) : std::span(kProductBf16);
}

void run_sm90_head_stats(Device& device, const Sm90Kernel& kernel, const HeadStatsTask& task, AlignedRows x, int chunks,
                         DType dtype) {
  const HeadProduct& product = task.product;
  HeadStatsSm90Args args{};
  args.task = task;
  args.row_tiles = row_tiles(kernel, product.rows);
  args.tiles = args.row_tiles * static_cast<int>(ceil_div(chunks * kVocabChunk, kernel.columns));
  encode(device, args.x, dtype, x.data, product.rows, x.stride, kernel.rows);
  encode_vocabulary(device, args.w, dtype, product.weight, product.vocab, product.weight_stride,
                    kernel.columns / kernel.cluster);
  launch(device, "head_stats_sm90", kernel.name, shape_of(device, kernel, args.tiles, 0), args);
}

void run_sm90_head_product(Device& device, const Sm90Kernel& kernel, const HeadProductTask& task, DType dtype) {
  HeadProductSm90Args args{};
  args.task = task;
  args.row_tiles = row_tiles(kernel, task.rows);
  args.tiles = args.row_tiles * static_cast<int>(ceil_div(task.width, kernel.columns));
  encode(device, args.exponentials, dtype, task.exponentials, task.rows, task.stride, kernel.rows);
  encode_vocabulary(device, args.w, dtype, task.weight, task.first_token + task.tokens, task.weight_stride, kSm90Depth);
  launch(device, "head_product_sm90", kernel.name, shape_of(device, kernel, args.tiles, ratio_bytes(kernel.rows)),
         args);
}

void run_sm90_head_sample(Device& device, const HeadSampleTask& task, AlignedRows x, DType dtype) {
  const HeadProduct& product = task.product;
  const Sm90Kernel& kernel = dtype == DType::f16 ? kSampleF16 : kSampleBf16;
  HeadSampleSm90Args args{};
  args.task = task;
  encode(device, args.x, dtype, x.data, product.rows, x.stride, kernel.rows);
  encode_vocabulary(device, args.w, dtype, product.weight, product.vocab, product.weight_stride, kernel.columns);
  launch(device, "head_sample_sm90", kernel.name,
         {.grid = {static_cast<unsigned>(product.rows)}, .block = kernel.threads, .shared_bytes = kernel.shared_bytes},
         args);
}

}  // namespace tinylora::cuda
