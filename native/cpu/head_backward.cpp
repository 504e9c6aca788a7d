// The head with its backward pass begun: d logp / dx = inv_temperature (W[target] - softmax(l) W) needs nothing that
// comes after the logits, so each is made once for both, and all that is left for later is to multiply by d_logp. It is
// attention over the vocabulary, with W as keys and values (Dao et al. 2022, FlashAttention): a few chunks at a time,
// e^(l - largest so far), rounded to act as every product's input is, times panels of W^T, and sums are scaled down
// when a larger logit comes. The target is left out of them: beside a likely one, rounding would hide the others. A
// thread takes a run of rows through all chunks in order, so a row's sums do not depend on the other rows.
#include <algorithm>
#include <cmath>
#include <limits>

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
  /// stats [rows of x, 3, chunks]; row: of args, the first of x.
  Pass(const HeadContext& context, const HeadArgs& args, int row, const PackedRows& x, float* stats, int first_block,
       int last_block, ProductScratch::Thread& own)
      : context_(context),
        args_(args),
        row_(row),
        x_(x),
        stats_(stats),
        first_block_(first_block),
        last_block_(last_block),
        own_(own),
        first_row_(first_block * context.product.block),
        rows_(std::min(x.rows, last_block * context.product.block) - first_row_),
        panels_(context.product.panels(context.weight.in)) {}

  void run() {
    const std::size_t sums = std::size_t(panels_ * (last_block_ - first_block_)) * context_.product.tile_floats();
    sums_ = own_.sums.at_least<float>(sums + std::size_t(rows_));
    largest_ = sums_ + sums;
    std::fill_n(largest_, rows_, -std::numeric_limits<float>::infinity());
    for (int chunk = 0; chunk < context_.chunks(); chunk += kChunksAtOnce) {
      const Group group = group_of(chunk);
      exponentials(group);
      add_product(group);
    }
    write();
  }

 private:
  /// Chunks that the sums take in at once: they are read and written once for all of them.
  static constexpr int kChunksAtOnce = 3;
  /// Rows whose exponentials of such chunks are made at once: they stay in the second-level cache beside the weights.
  static constexpr int kRowsOfExponentials = 64;
  struct Group {
    int first, last;  // chunks
    int tokens;
  };
  Group group_of(int first) const {
    const int last = std::min(context_.chunks(), first + kChunksAtOnce);
    return {first, last, std::min(context_.vocab(), last * kVocabChunk) - first * kVocabChunk};
  }

  /// e^(l - largest so far), 0 for the target, packed into packed_; the statistics of the chunks on the way.
  void exponentials(const Group& group) {
    const ProductKernels& product = context_.product;
    const std::size_t row_bytes = std::size_t(group.tokens) * size_of(product.dtype);
    const int blocks_at_once = std::max(1, kRowsOfExponentials / product.block);
    const auto rows_at_once = std::ptrdiff_t{blocks_at_once} * product.block;
    // The chunks of the group one after the other, [rows_at_once, kVocabChunk] each; behind them, all in act.
    float* logits = own_.logits.at_least<float>(std::size_t(2 * kChunksAtOnce * rows_at_once * kVocabChunk));
    auto* rounded = reinterpret_cast<std::byte*>(logits + kChunksAtOnce * rows_at_once * kVocabChunk);
    packed_ =
        own_.rows.at_least<std::byte>(std::size_t(last_block_ - first_block_) * product.block_bytes(group.tokens));

    for (int block = first_block_; block < last_block_; block += blocks_at_once) {
      const int last = std::min(last_block_, block + blocks_at_once);
      const int rows = std::min(x_.rows, last * product.block) - block * product.block;
      for (int chunk = group.first; chunk < group.last; ++chunk) {
        chunk_logits(context_, x_, block, last, chunk, own_,
                     logits + (chunk - group.first) * rows_at_once * kVocabChunk, block > first_block_);
      }
      for (int i = 0; i < rows; ++i) {
        exponentials_of_row(group, block * product.block + i, logits + std::ptrdiff_t{i} * kVocabChunk,
                            rows_at_once * kVocabChunk, rounded + std::size_t(i) * row_bytes);
      }
      for (int b = block; b < last; ++b) {
        PackTask task{};
        task.rows = std::min(product.block, rows - (b - block) * product.block);
        task.in = group.tokens;
        task.padded_in = product.padded(group.tokens);
        task.x = rounded + std::size_t((b - block) * product.block) * row_bytes;
        task.packed = packed_ + std::size_t(b - first_block_) * product.block_bytes(group.tokens);
        product.pack(task);
      }
    }
  }

  /// Row m of x; logits: of the group's first chunk, those of the next one `stride` further.
  void exponentials_of_row(const Group& group, int m, float* logits, std::ptrdiff_t stride, std::byte* rounded) {
    const float inv_temperature = args_.inv_temperature[row_ + m];
    float* stats = stats_ + std::ptrdiff_t{m} * 3 * context_.chunks();
    float& largest = largest_[m - first_row_];
    const float before = largest;
    float weights[kChunksAtOnce];
    for (int chunk = group.first; chunk < group.last; ++chunk) {
      float* l = logits + (chunk - group.first) * stride;
      const int target = args_.target[row_ + m] - chunk * kVocabChunk;
      const bool has_target = target >= 0 && target < context_.chunk_tokens(chunk);
      // logp holds l of the target until the totals are known.
      if (has_target) args_.logp[row_ + m] = l[target] * inv_temperature;
      const ChunkStats found = context_.head.chunk_exponentials(l, context_.chunk_tokens(chunk), inv_temperature);
      if (has_target) l[target] = 0;
      put_stats(stats + chunk, context_.chunks(), found);
      weights[chunk - group.first] = found.largest;
      largest = std::max(largest, found.largest);
    }
    context_.head.exponentials(weights, group.last - group.first, 1, largest);
    for (int chunk = group.first; chunk < group.last; ++chunk) {
      context_.head.scaled(logits + (chunk - group.first) * stride, context_.chunk_tokens(chunk),
                           weights[chunk - group.first],
                           rounded + std::size_t((chunk - group.first) * kVocabChunk) * size_of(context_.product.dtype),
                           context_.product.dtype);
    }
    if (group.first > 0 && largest > before) scale_sums(m - first_row_, before, largest);
  }

  /// The sums of a row are of e^(l - before): makes them those of e^(l - largest).
  void scale_sums(int row, float before, float largest) {
    context_.head.exponentials(&before, 1, 1, largest);
    for (int panel = 0; panel < panels_; ++panel) {
      float* sums = sums_of(panel, row);
      for (int i = 0; i < context_.product.panel; ++i) sums[i] *= before;
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
                     packed_ + std::size_t(block - first_block_) * product.block_bytes(group.tokens), transposed, sums,
                     group.first > 0);
      }
    }
  }

  void write() {
    const int width = context_.weight.in;
    float* weights = own_.logits.at_least<float>(std::size_t(context_.chunks() + width));
    float* target = weights + context_.chunks();
    for (int i = 0; i < rows_; ++i) {
      const int m = row_ + first_row_ + i;
      const float inv_temperature = args_.inv_temperature[m];
      const RowTotal total =
          write_total(context_, args_, m, stats_of(stats_, first_row_ + i, context_.chunks()), weights);
      context_.weight.read_row(args_.target[m], target);
      const auto rest = static_cast<float>(-std::expm1(static_cast<double>(args_.logp[m])));  // 1 - p of the target
      const float of_target = inv_temperature * rest;
      const float of_sum = -inv_temperature / static_cast<float>(total.sum);
      float* dx = args_.dx + std::ptrdiff_t{m} * width;
      for (int panel = 0; panel < panels_; ++panel) {
        const int column = panel * context_.product.panel;
        const float* sums = sums_of(panel, i);
        const int count = std::min(context_.product.panel, width - column);
        for (int k = 0; k < count; ++k) dx[column + k] = of_target * target[column + k] + of_sum * sums[k];
      }
    }
  }

  float* sums_of(int panel, int row) const {
    const ProductKernels& product = context_.product;
    const int tile = panel * (last_block_ - first_block_) + row / product.block;
    return sums_ + std::size_t(tile) * product.tile_floats() + row % product.block * product.panel;
  }

  const HeadContext& context_;
  const HeadArgs& args_;
  const int row_;
  const PackedRows& x_;
  float* const stats_;
  const int first_block_;
  const int last_block_;
  ProductScratch::Thread& own_;
  const int first_row_;  // of x
  const int rows_;
  const int panels_;             // of dx
  float* sums_ = nullptr;        // [panels, blocks, block, panel]
  float* largest_ = nullptr;     // [rows] largest logit so far
  std::byte* packed_ = nullptr;  // blocks of exponentials
};

}  // namespace

void score_with_dx(const HeadContext& context, const HeadArgs& args, int row, const PackedRows& x) {
  const int blocks = context.product.blocks(x.rows);
  const int blocks_at_once = rows_at_once(context.product, x.rows, context.pool.threads()) / context.product.block;
  float* stats = stats_of_rows(context, x.rows);
  context.pool.run((blocks + blocks_at_once - 1) / blocks_at_once, [&](std::int64_t item, int thread) {
    const int first = static_cast<int>(item) * blocks_at_once;
    Pass(context, args, row, x, stats, first, std::min(blocks, first + blocks_at_once),
         context.scratch.threads[std::size_t(thread)])
        .run();
  });
}

void CpuBackend::head_backward(const HeadBackwardArgs& args) {
  const int width = args.weight->in;
  pool_.run(args.rows, [&](std::int64_t m, int) {
    float* dx = args.dx + m * width;
    for (int i = 0; i < width; ++i) dx[i] *= args.d_logp[m];
  });
}

}  // namespace tinylora
