// The head's way back in groups of chunks: logits again and their gradient g, rounded to act as every product's input
// is, then dx += g W of the group. g is [kHeadRows, kGroupChunks * kVocabChunk]: tokens x vocabulary never exists.
#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/head_stats.h"
#include "cuda/kernels/head.h"
#include "cuda/launch.h"

namespace tinylora {
namespace {

constexpr int kGroupChunks = 32;
constexpr int kTile = 128;  // of dx: head_product.cu

}  // namespace

void CudaBackend::head_backward(const HeadBackwardArgs& args) {
  using namespace cuda;
  const CudaWeight& weight = packed(args.weight, "head_backward");
  const int chunks = vocab_chunks(weight.out);
  const int stride = std::min(chunks, kGroupChunks) * kVocabChunk;
  const TileShape tile = bf16() ? kManyRows : kFloatRows;
  const std::size_t element = size_of(dtype_);
  const auto gradient = device_->scratch(std::size_t(std::min(args.rows, kHeadRows)) * std::size_t(stride) * element);

  for (int row = 0; row < args.rows; row += kHeadRows) {
    const int rows = std::min(kHeadRows, args.rows - row);
    const auto* x = static_cast<const std::byte*>(args.x) + std::size_t(row) * std::size_t(weight.in) * element;
    for (int chunk = 0; chunk < chunks; chunk += kGroupChunks) {
      const int count = std::min(kGroupChunks, chunks - chunk);
      HeadGradientTask task{};
      task.product = {x, weight.data(), rows, weight.in, weight.stride, weight.out};
      task.target = args.target + row;
      task.inv_temperature = args.inv_temperature + row;
      task.lse = args.lse + row;
      task.d_logp = args.d_logp + row;
      task.gradient = gradient.get();
      task.gradient_stride = stride;
      task.first_chunk = chunk;
      launch(*device_, "head", pick("head_gradient_bf16", "head_gradient_f32"),
             {.grid = {ceil_div(rows, tile.rows), static_cast<unsigned>(count)},
              .block = static_cast<unsigned>(tile.threads),
              .shared_bytes = tile.shared_bytes},
             task);

      HeadGradientProduct product{};
      product.gradient = gradient.get();
      product.weight = weight.data();
      product.dx = args.dx + std::ptrdiff_t{row} * weight.in;
      product.rows = rows;
      product.width = weight.in;
      product.weight_stride = weight.stride;
      product.gradient_stride = stride;
      product.first_token = chunk * kVocabChunk;
      product.tokens = std::min(count * kVocabChunk, weight.out - product.first_token);
      product.add = chunk > 0;
      const int product_rows = bf16() ? kTile : kFloatRows.rows;
      launch(*device_, "head_product", pick("head_product_bf16", "head_product_f32"),
             {.grid = {ceil_div(weight.in, kTile), ceil_div(rows, product_rows)},
              .block = bf16() ? 128U : 256U,
              .shared_bytes = bf16() ? static_cast<unsigned>(kHeadStages * 2 * kTile * 32 * 2) : 0U},
             product);
    }
  }
}

}  // namespace tinylora
