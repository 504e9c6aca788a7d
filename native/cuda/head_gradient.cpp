// head_gradient in groups of chunks: logits again and their gradient g, rounded to act as every product's input is,
// then dW += g^T x of the group. g is [kHeadRows, kGroupChunks * kVocabChunk]: a matrix of tokens by vocabulary never
// exists.
#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/head.h"
#include "cuda/launch.h"

namespace tinylora {

void CudaBackend::head_gradient(const HeadGradientArgs& args) {
  using namespace cuda;
  const HeadBackwardArgs& back = *args.back;
  const CudaWeight& weight = packed(back.weight, "head_gradient");
  const int chunks = vocab_chunks(weight.out);
  const int stride = std::min(chunks, kGroupChunks) * kVocabChunk;
  const TileShape tile = half() ? kManyRows : kFloatRows;
  const std::size_t element = size_of(dtype_);
  const auto gradient = device_->scratch(std::size_t(std::min(back.rows, kHeadRows)) * std::size_t(stride) * element);

  for (int row = 0; row < back.rows; row += kHeadRows) {
    const int rows = std::min(kHeadRows, back.rows - row);
    const auto* x = static_cast<const std::byte*>(back.x) + std::size_t(row) * std::size_t(weight.in) * element;
    for (int chunk = 0; chunk < chunks; chunk += kGroupChunks) {
      const int count = std::min(kGroupChunks, chunks - chunk);
      HeadGradientTask task{};
      task.product = {x, weight.data(), rows, weight.in, weight.stride, weight.out};
      task.target = back.target + row;
      task.inv_temperature = back.inv_temperature + row;
      task.lse = back.lse + row;
      task.d_logp = back.d_logp + row;
      task.gradient = gradient.get();
      task.gradient_stride = stride;
      task.first_chunk = chunk;
      launch(*device_, "head", pick("head_gradient_bf16", "head_gradient_f16", "head_gradient_f32"),
             {.grid = {ceil_div(rows, tile.rows), static_cast<unsigned>(count)},
              .block = static_cast<unsigned>(tile.threads),
              .shared_bytes = tile.shared_bytes},
             task);
      const int first_token = chunk * kVocabChunk;
      WeightGradientKernelArgs product{};
      product.dy = gradient.get();
      product.x = x;
      product.d_weight = args.d_weight + std::ptrdiff_t{first_token} * weight.in;
      product.rows = rows;
      product.out = std::min(count * kVocabChunk, weight.out - first_token);
      product.in = product.x_stride = weight.in;
      product.dy_stride = stride;
      add_outer_product(product);
    }
  }
}

}  // namespace tinylora
