// The head's backward pass, chunk by chunk: logits again, their gradient g rounded to act as every product's input is,
// and dx += g W of the chunk by panels of W^T. A thread takes a run of rows through all chunks in order, so a row's
// sums do not depend on the other rows.
#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/head.h"

namespace tinylora {
namespace {

/// Rows of one thread: enough to make transposing the weight cheap, few enough for their sums to stay near.
int rows_at_once(const ProductKernels& kernels, int rows, int threads) {
  const int share = (rows + threads - 1) / threads;
  return std::min(256, kernels.blocks(share) * kernels.block);
}

/// A thread's pass over rows first_block .. last_block of packed_x.
class Pass {
 public:
  Pass(const HeadContext& context, const HeadBackwardArgs& args, int row, const PackedRows& x, int first_block,
       int last_block, ProductScratch::Thread& own)
      : context_(context),
        args_(args),
        row_(row),
        x_(x),
        first_block_(first_block),
        last_block_(last_block),
        own_(own),
        rows_(std::min(x.rows, last_block * context.product.block) - first_block * context.product.block),
        panels_(context.product.panels(context.weight.in)) {}

  void run() {
    const ProductKernels& product = context_.product;
    sums_ = own_.sums.at_least<float>(std::size_t(panels_ * (last_block_ - first_block_)) * product.tile_floats());
    for (int chunk = 0; chunk < context_.chunks(); ++chunk) {
      gradient_of_logits(chunk);
      add_product(chunk);
    }
    write();
  }

 private:
  int first_row() const { return row_ + first_block_ * context_.product.block; }

  /// g[m, v] = d_logp * inv_temperature * (1[v = target] - p), p = e^(l - lse), packed into gradients_.
  void gradient_of_logits(int chunk) {
    const ProductKernels& product = context_.product;
    const int count = context_.chunk_tokens(chunk);
    const int element = static_cast<int>(size_of(product.dtype));
    // Behind the logits, their gradients of one block in act.
    float* logits = own_.logits.at_least<float>(std::size_t(2 * product.block) * kVocabChunk);
    auto* rounded = reinterpret_cast<std::byte*>(logits + product.block * kVocabChunk);
    gradients_ =
        own_.rows.at_least<std::byte>(std::size_t(last_block_ - first_block_) * product.block_bytes(kVocabChunk));

    for (int block = first_block_; block < last_block_; ++block) {
      chunk_logits(context_, x_, block, block + 1, chunk, own_, logits);
      const int rows = std::min(product.block, x_.rows - block * product.block);
      for (int i = 0; i < rows; ++i) {
        const int m = row_ + block * product.block + i;
        logit_gradients(context_, args_, m, chunk, logits + i * kVocabChunk, rounded + i * count * element);
      }
      PackTask task{};
      task.rows = rows;
      task.in = count;
      task.padded_in = product.padded(count);
      task.x = rounded;
      task.packed = gradients_ + std::size_t(block - first_block_) * product.block_bytes(count);
      product.pack(task);
    }
  }

  void add_product(int chunk) {
    const ProductKernels& product = context_.product;
    const PackedWeight& weight = context_.weight;
    const int count = context_.chunk_tokens(chunk);
    const int panels_a_chunk = kVocabChunk / product.panel;
    const int first_panel = chunk * panels_a_chunk;
    const int last_panel = std::min(weight.panels, first_panel + panels_a_chunk);
    auto* transposed = own_.panel.at_least<std::byte>(product.panel_bytes(kVocabChunk));
    float* sums = sums_;
    for (int panel = 0; panel < panels_; ++panel) {
      product.transpose({weight.data(), weight.panel_bytes, weight.padded_in, first_panel, last_panel,
                         panel * product.panel, transposed});
      for (int block = first_block_; block < last_block_; ++block, sums += product.tile_floats()) {
        const int rows = std::min(product.block, x_.rows - block * product.block);
        product.tile(rows, product.padded(count),
                     gradients_ + std::size_t(block - first_block_) * product.block_bytes(count), transposed, sums,
                     chunk > 0);
      }
    }
  }

  void write() const {
    const ProductKernels& product = context_.product;
    const int width = context_.weight.in;
    for (int panel = 0; panel < panels_; ++panel) {
      const int column = panel * product.panel;
      const auto bytes = std::size_t(std::min(product.panel, width - column)) * sizeof(float);
      for (int m = 0; m < rows_; ++m) {
        const int tile = panel * (last_block_ - first_block_) + m / product.block;
        const float* from = sums_ + std::size_t(tile) * product.tile_floats() + m % product.block * product.panel;
        std::memcpy(args_.dx + std::ptrdiff_t{first_row() + m} * width + column, from, bytes);
      }
    }
  }

  const HeadContext& context_;
  const HeadBackwardArgs& args_;
  const int row_;  // of the first packed row, in args
  const PackedRows& x_;
  const int first_block_;
  const int last_block_;
  ProductScratch::Thread& own_;
  const int rows_;
  const int panels_;                // of dx
  float* sums_ = nullptr;           // [panels, blocks, block, panel]
  std::byte* gradients_ = nullptr;  // blocks of packed g
};

}  // namespace

void CpuBackend::head_backward(const HeadBackwardArgs& args) {
  const PackedWeight& weight = packed(args.weight, product_, "head_backward");
  const HeadContext context{product_, head_, pool_, *scratch_, weight};
  for (int row = 0; row < args.rows; row += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, args.rows - row);
    const auto* x = static_cast<const std::byte*>(args.x) + std::size_t(row) * std::size_t(weight.in) * size_of(dtype_);
    const PackedRows packed_x = pack_rows(product_, pool_, *scratch_, rows, weight.in, x);
    const int blocks = product_.blocks(rows);
    const int blocks_at_once = rows_at_once(product_, rows, pool_.threads()) / product_.block;
    pool_.run((blocks + blocks_at_once - 1) / blocks_at_once, [&](std::int64_t item, int thread) {
      const int first = static_cast<int>(item) * blocks_at_once;
      Pass(context, args, row, packed_x, first, std::min(blocks, first + blocks_at_once),
           scratch_->threads[std::size_t(thread)])
          .run();
    });
  }
}

}  // namespace tinylora
