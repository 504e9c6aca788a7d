// head_gradient: dW += g^T x. A thread takes one chunk of the vocabulary: its logits again, their gradients g rounded
// to act as every product's input is, and transposed; then the product with x.
#include <algorithm>
#include <cstring>

#include "cpu/cpu_backend.h"
#include "cpu/head.h"
#include "cpu/outer_product.h"

namespace tinylora {
namespace {

/// From the logits [kVocabChunk] of row m to g = d_logp * inv_temperature * (1[target] - p), rounded to act; the logits
/// are overwritten.
void logit_gradients(const HeadContext& context, const HeadBackwardArgs& args, int m, int chunk, float* logits,
                     std::byte* rounded) {
  const int count = context.chunk_tokens(chunk);
  context.head.exponentials(logits, count, args.inv_temperature[m], args.lse[m]);
  const int target = args.target[m] - chunk * kVocabChunk;
  if (target >= 0 && target < count) logits[target] -= 1;
  context.head.scaled(logits, count, -args.d_logp[m] * args.inv_temperature[m], rounded, context.product.dtype);
}

/// g^T [tokens of the chunk, rows] act, in the thread's scratch.
const std::byte* transposed_gradients(const HeadContext& context, const HeadBackwardArgs& args, int row,
                                      const PackedRows& x, int chunk, ProductScratch::Thread& own) {
  const ProductKernels& product = context.product;
  const int count = context.chunk_tokens(chunk);
  const std::size_t element = size_of(product.dtype);
  float* logits = own.logits.at_least<float>(std::size_t(2 * product.block) * kVocabChunk);
  auto* rounded = reinterpret_cast<std::byte*>(logits + product.block * kVocabChunk);
  auto* transposed = own.rows.at_least<std::byte>(std::size_t(count) * std::size_t(x.rows) * element);
  for (int block = 0; block < product.blocks(x.rows); ++block) {
    chunk_logits(context, x, block, block + 1, chunk, own, logits);
    const int last = std::min(x.rows, (block + 1) * product.block);
    for (int m = block * product.block; m < last; ++m) {
      float* l = logits + (m - block * product.block) * kVocabChunk;
      logit_gradients(context, args, row + m, chunk, l, rounded);
      for (int v = 0; v < count; ++v) {
        std::memcpy(transposed + (std::size_t(v) * std::size_t(x.rows) + std::size_t(m)) * element,
                    rounded + std::size_t(v) * element, element);
      }
    }
  }
  return transposed;
}

}  // namespace

void CpuBackend::head_gradient(const HeadGradientArgs& args) {
  const HeadBackwardArgs& back = *args.back;
  const PackedWeight& weight = packed(back.weight, product_, "head_gradient");
  const HeadContext context{product_, head_, pool_, *scratch_, weight};
  for (int row = 0; row < back.rows; row += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, back.rows - row);
    const auto* x = static_cast<const std::byte*>(back.x) + std::size_t(row) * std::size_t(weight.in) * size_of(dtype_);
    const PackedRows packed_x = pack_rows(product_, pool_, *scratch_, rows, weight.in, x);
    const PackedColumns columns = pack_columns(product_, pool_, scratch_->columns, rows, weight.in, x);
    pool_.run(context.chunks(), [&](std::int64_t item, int thread) {
      const int chunk = static_cast<int>(item);
      ProductScratch::Thread& own = scratch_->threads[std::size_t(thread)];
      const std::byte* transposed = transposed_gradients(context, back, row, packed_x, chunk, own);
      add_outer_product(product_, columns, own, context.chunk_tokens(chunk), transposed,
                        args.d_weight + std::ptrdiff_t{chunk} * kVocabChunk * weight.in);
    });
  }
}

}  // namespace tinylora
