// The head's backward pass, a few chunks at a time: logits again, their gradient g rounded to act as every product's
// input is, and dx += g W of those chunks by panels of W^T. A thread takes a run of rows through all chunks in order,
// so a row's sums do not depend on the other rows.
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
    for (int chunk = 0; chunk < context_.chunks(); chunk += kChunksAtOnce) {
      const Group group = group_of(chunk);
      gradient_of_logits(group);
      add_product(group);
    }
    write();
  }

 private:
  /// Chunks that dx takes in at once: its sums are read and written once for all of them.
  static constexpr int kChunksAtOnce = 3;
  struct Group {
    int first, last;  // chunks
    int tokens;
  };
  Group group_of(int first) const {
    const int last = std::min(context_.chunks(), first + kChunksAtOnce);
    return {first, last, std::min(context_.vocab(), last * kVocabChunk) - first * kVocabChunk};
  }

  int first_row() const { return row_ + first_block_ * context_.product.block; }

  /// g[m, v] = d_logp * inv_temperature * (1[v = target] - p), p = e^(l - lse), packed into gradients_.
  void gradient_of_logits(const Group& group) {
    const ProductKernels& product = context_.product;
    const std::size_t row_bytes = std::size_t(group.tokens) * size_of(product.dtype);
    const int blocks_at_once = logit_blocks(product);
    const auto rows_at_once = std::size_t(blocks_at_once * product.block);
    // Behind the logits of a chunk, the gradients of the group, in act.
    float* logits = own_.logits.at_least<float>(rows_at_once * kVocabChunk * (1 + kChunksAtOnce));
    auto* rounded = reinterpret_cast<std::byte*>(logits + rows_at_once * kVocabChunk);
    gradients_ =
        own_.rows.at_least<std::byte>(std::size_t(last_block_ - first_block_) * product.block_bytes(group.tokens));

    for (int block = first_block_; block < last_block_; block += blocks_at_once) {
      const int last = std::min(last_block_, block + blocks_at_once);
      const int rows = std::min(x_.rows, last * product.block) - block * product.block;
      for (int chunk = group.first; chunk < group.last; ++chunk) {
        chunk_logits(context_, x_, block, last, chunk, own_, logits, block > first_block_);
        std::byte* to = rounded + std::size_t((chunk - group.first) * kVocabChunk) * size_of(product.dtype);
        for (int i = 0; i < rows; ++i) {
          logit_gradients(context_, args_, row_ + block * product.block + i, chunk, logits + i * kVocabChunk,
                          to + std::size_t(i) * row_bytes);
        }
      }
      for (int b = block; b < last; ++b) {
        PackTask task{};
        task.rows = std::min(product.block, rows - (b - block) * product.block);
        task.in = group.tokens;
        task.padded_in = product.padded(group.tokens);
        task.x = rounded + std::size_t((b - block) * product.block) * row_bytes;
        task.packed = gradients_ + std::size_t(b - first_block_) * product.block_bytes(group.tokens);
        product.pack(task);
      }
    }
  }

  void add_product(const Group& group) {
    const ProductKernels& product = context_.product;
    const PackedWeight& weight = context_.weight;
    const int panels_a_chunk = kVocabChunk / product.panel;
    const int first_panel = group.first * panels_a_chunk;
    const int last_panel = std::min(weight.panels, group.last * panels_a_chunk);
    auto* transposed = own_.panel.at_least<std::byte>(product.panel_bytes(kChunksAtOnce * kVocabChunk));
    float* sums = sums_;
    for (int panel = 0; panel < panels_; ++panel) {
      product.transpose({weight.data(), weight.panel_bytes, weight.padded_in, first_panel, last_panel,
                         panel * product.panel, transposed});
      for (int block = first_block_; block < last_block_; ++block, sums += product.tile_floats()) {
        const int rows = std::min(product.block, x_.rows - block * product.block);
        product.tile(rows, product.padded(group.tokens),
                     gradients_ + std::size_t(block - first_block_) * product.block_bytes(group.tokens), transposed,
                     sums, group.first > 0);
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
