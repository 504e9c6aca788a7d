// The head's backward pass in groups of chunks: logits again and their gradient g, rounded to act as every product's
// input is, then of each group dx += g W (head_backward) or dW += g^T x (head_gradient). g is
// [kHeadRows, kGroupChunks * kVocabChunk]: a matrix of tokens by vocabulary never exists.
#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/head_stats.h"
#include "cuda/kernels/head.h"
#include "cuda/launch.h"

namespace tinylora {
namespace {

using namespace cuda;

constexpr int kGroupChunks = 32;
constexpr int kTile = 128;  // of dx: head_product.cu

/// Some rows and some tokens of the vocabulary, and g of both.
struct GradientGroup {
  const void* x;  // [rows, C] act
  const void* gradient;
  int row;
  int rows;
  int first_token;
  int tokens;
  int stride;  // of g
};

/// Rows in order, and for each run of them the vocabulary in order: body(group) once g of the group is queued.
template <class Body>
void for_each_group(Device& device, DType dtype, const CudaWeight& weight, const HeadBackwardArgs& args,
                    const Body& body) {
  const bool half = dtype != DType::f32;
  const int chunks = vocab_chunks(weight.out);
  const int stride = std::min(chunks, kGroupChunks) * kVocabChunk;
  const TileShape tile = half ? kManyRows : kFloatRows;
  const char* kernel = !half ? "head_gradient_f32" : dtype == DType::bf16 ? "head_gradient_bf16" : "head_gradient_f16";
  const std::size_t element = size_of(dtype);
  const auto gradient = device.scratch(std::size_t(std::min(args.rows, kHeadRows)) * std::size_t(stride) * element);

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
      launch(device, "head", kernel,
             {.grid = {ceil_div(rows, tile.rows), static_cast<unsigned>(count)},
              .block = static_cast<unsigned>(tile.threads),
              .shared_bytes = tile.shared_bytes},
             task);
      const int first_token = chunk * kVocabChunk;
      const int tokens = std::min(count * kVocabChunk, weight.out - first_token);
      body(GradientGroup{x, gradient.get(), row, rows, first_token, tokens, stride});
    }
  }
}

}  // namespace

void CudaBackend::head_backward(const HeadBackwardArgs& args) {
  const CudaWeight& weight = packed(args.weight, "head_backward");
  for_each_group(*device_, dtype_, weight, args, [&](const GradientGroup& group) {
    HeadGradientProduct product{};
    product.gradient = group.gradient;
    product.weight = weight.data();
    product.dx = args.dx + std::ptrdiff_t{group.row} * weight.in;
    product.rows = group.rows;
    product.width = weight.in;
    product.weight_stride = weight.stride;
    product.gradient_stride = group.stride;
    product.first_token = group.first_token;
    product.tokens = group.tokens;
    product.add = group.first_token > 0;
    const int product_rows = half() ? kTile : kFloatRows.rows;
    launch(*device_, "head_product", pick("head_product_bf16", "head_product_f16", "head_product_f32"),
           {.grid = {ceil_div(weight.in, kTile), ceil_div(group.rows, product_rows)},
            .block = half() ? 128U : 256U,
            .shared_bytes = half() ? static_cast<unsigned>(kHeadStages * 2 * kTile * 32 * 2) : 0U},
           product);
  });
}

void CudaBackend::head_gradient(const HeadGradientArgs& args) {
  const CudaWeight& weight = packed(args.back->weight, "head_gradient");
  for_each_group(*device_, dtype_, weight, *args.back, [&](const GradientGroup& group) {
    WeightGradientKernelArgs product{};
    product.dy = group.gradient;
    product.x = group.x;
    product.d_weight = args.d_weight + std::ptrdiff_t{group.first_token} * weight.in;
    product.rows = group.rows;
    product.out = group.tokens;
    product.in = product.x_stride = weight.in;
    product.dy_stride = group.stride;
    add_outer_product(product);
  });
}

}  // namespace tinylora
