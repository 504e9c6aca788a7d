// The head op. Each item of work is one chunk of the vocabulary for all rows: the chunk's weights and the logits of
// kLogitRows rows stay in the second-level cache, and three numbers a row and chunk are all that is kept.
#include "cpu/head.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "cpu/cpu_backend.h"

namespace tinylora {

int HeadContext::chunk_tokens(int chunk) const { return std::min(kVocabChunk, vocab() - chunk * kVocabChunk); }

RowStats stats_of(const float* stats, int row, int chunks) {
  const float* own = stats + std::ptrdiff_t{row} * 3 * chunks;
  return {own, own + chunks, own + 2 * std::ptrdiff_t{chunks}};
}

float RowTotal::logp(float l) const {
  return static_cast<float>(static_cast<double>(l) - static_cast<double>(largest) - std::log(sum));
}
float RowTotal::lse() const { return static_cast<float>(static_cast<double>(largest) + std::log(sum)); }
float RowTotal::entropy() const { return static_cast<float>(std::log(sum) - weighted / sum); }

void chunk_logits(const HeadContext& context, const PackedRows& rows, int first_block, int last_block, int chunk,
                  ProductScratch::Thread& own, float* logits, bool cached) {
  const int panels_a_chunk = kVocabChunk / context.product.panel;
  ProductTask task = task_for(rows);
  task.first_block = first_block;
  task.last_block = last_block;
  task.first_panel = chunk * panels_a_chunk;
  task.last_panel = std::min(context.weight.panels, task.first_panel + panels_a_chunk);
  task.padded_in = context.weight.padded_in;
  task.out = context.weight.out;
  task.panels = context.weight.data();
  task.panel_bytes = context.weight.panel_bytes;
  task.panels_cached = cached;
  task.sums = own.tiles.at_least<float>(context.product.sums_floats(last_block - first_block));
  task.y = logits - std::ptrdiff_t{first_block} * context.product.block * kVocabChunk;  // row 0 of all rows
  task.y_stride = kVocabChunk;
  task.y_column = chunk * kVocabChunk;
  task.y_float = true;
  context.product.product(task);
}

void logit_gradients(const HeadContext& context, const HeadBackwardArgs& args, int m, int chunk, float* logits,
                     std::byte* rounded) {
  const int count = context.chunk_tokens(chunk);
  context.head.exponentials(logits, count, args.inv_temperature[m], args.lse[m]);
  const int target = args.target[m] - chunk * kVocabChunk;
  if (target >= 0 && target < count) logits[target] -= 1;
  context.head.scaled(logits, count, -args.d_logp[m] * args.inv_temperature[m], rounded, context.product.dtype);
}

const float* head_stats(const HeadContext& context, const PackedRows& rows, const float* inv_temperature,
                        const std::int32_t* target, float* target_l) {
  const int chunks = context.chunks();
  const int blocks = context.product.blocks(rows.rows), blocks_at_once = logit_blocks(context.product);
  const int block_rows = context.product.block;
  float* stats = context.scratch.stats.at_least<float>(std::size_t(rows.rows) * 3 * std::size_t(chunks));
  context.pool.run(chunks, [&](std::int64_t item, int thread) {
    const int chunk = static_cast<int>(item);
    const int first = chunk * kVocabChunk;
    const int count = context.chunk_tokens(chunk);
    ProductScratch::Thread& own = context.scratch.threads[std::size_t(thread)];
    float* logits = own.logits.at_least<float>(std::size_t(blocks_at_once * block_rows) * kVocabChunk);
    for (int block = 0; block < blocks; block += blocks_at_once) {
      const int last_block = std::min(blocks, block + blocks_at_once);
      chunk_logits(context, rows, block, last_block, chunk, own, logits, block > 0);
      const int last = std::min(rows.rows, last_block * block_rows);
      for (int m = block * block_rows; m < last; ++m) {
        float* l = logits + (m - block * block_rows) * kVocabChunk;
        const ChunkStats found = context.head.chunk_stats(l, count, inv_temperature[m]);
        float* to = stats + std::ptrdiff_t{m} * 3 * chunks + chunk;
        to[0] = found.largest;
        to[chunks] = found.sum;
        to[2 * std::ptrdiff_t{chunks}] = found.weighted;
        if (target && target[m] >= first && target[m] < first + count) target_l[m] = l[target[m] - first];
      }
    }
  });
  return stats;
}

RowTotal total_of(const HeadKernels& kernels, const RowStats& stats, int chunks, float* weights) {
  RowTotal total{stats.largest[0], 0, 0};
  for (int c = 1; c < chunks; ++c) total.largest = std::max(total.largest, stats.largest[c]);
  std::memcpy(weights, stats.largest, std::size_t(chunks) * sizeof(float));
  kernels.exponentials(weights, chunks, 1, total.largest);
  for (int c = 0; c < chunks; ++c) {
    const auto weight = static_cast<double>(weights[c]);
    const auto sum = static_cast<double>(stats.sum[c]);
    total.sum += weight * sum;
    const double below = static_cast<double>(stats.largest[c]) - static_cast<double>(total.largest);
    total.weighted += weight * (static_cast<double>(stats.weighted[c]) + below * sum);
  }
  return total;
}

void CpuBackend::head(const HeadArgs& args) {
  const PackedWeight& weight = packed(args.weight, product_, "head");
  const HeadContext context{product_, head_, pool_, *scratch_, weight};
  const int chunks = context.chunks();
  for (int i = 0; i < args.rows; ++i) {
    check(args.target[i] >= 0 && args.target[i] < weight.out, "ERR_ARGUMENT", "head: target ", i, ": expected 0 to ",
          weight.out - 1, ", found ", args.target[i]);
  }
  for (int row = 0; row < args.rows; row += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, args.rows - row);
    const auto* x = static_cast<const std::byte*>(args.x) + std::size_t(row) * std::size_t(weight.in) * size_of(dtype_);
    const PackedRows packed_x = pack_rows(product_, pool_, *scratch_, rows, weight.in, x);
    // logp holds l of the target until the totals are known.
    const float* stats = head_stats(context, packed_x, args.inv_temperature + row, args.target + row, args.logp + row);
    pool_.run(rows, [&](std::int64_t m, int thread) {
      float* weights = scratch_->threads[std::size_t(thread)].logits.at_least<float>(std::size_t(chunks));
      const RowTotal total = total_of(head_, stats_of(stats, static_cast<int>(m), chunks), chunks, weights);
      args.logp[row + m] = total.logp(args.logp[row + m]);
      args.entropy[row + m] = total.entropy();
      args.lse[row + m] = total.lse();
    });
  }
}

}  // namespace tinylora
