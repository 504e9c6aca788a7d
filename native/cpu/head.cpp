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

float* stats_of_rows(const HeadContext& context, int rows) {
  return context.scratch.stats.at_least<float>(std::size_t(rows) * 3 * std::size_t(context.chunks()));
}

void put_stats(float* to, int chunks, const ChunkStats& stats) {
  to[0] = stats.largest;
  to[chunks] = stats.sum;
  to[2 * std::ptrdiff_t{chunks}] = stats.weighted;
}

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
  const int after = task.first_panel + context.pool.threads() * panels_a_chunk;
  if (after < context.weight.panels) task.panel_after = task.panels + std::size_t(after) * task.panel_bytes;
  task.sums = own.tiles.at_least<float>(context.product.sums_floats(last_block - first_block));
  task.y = logits - std::ptrdiff_t{first_block} * context.product.block * kVocabChunk;  // row 0 of all rows
  task.y_stride = kVocabChunk;
  task.y_column = chunk * kVocabChunk;
  task.y_float = true;
  context.product.product(task);
}

const float* head_stats(const HeadContext& context, const PackedRows& rows, const float* inv_temperature,
                        const std::int32_t* target, float* target_l) {
  const int chunks = context.chunks();
  const int blocks = context.product.blocks(rows.rows), blocks_at_once = logit_blocks(context.product);
  const int block_rows = context.product.block;
  float* stats = stats_of_rows(context, rows.rows);
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
        put_stats(stats + std::ptrdiff_t{m} * 3 * chunks + chunk, chunks, found);
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

RowTotal write_total(const HeadContext& context, const HeadArgs& args, int m, const RowStats& stats, float* weights) {
  const RowTotal total = total_of(context.head, stats, context.chunks(), weights);
  args.logp[m] = total.logp(args.logp[m]);
  args.entropy[m] = total.entropy();
  args.lse[m] = total.lse();
  return total;
}

namespace {

void score(const HeadContext& context, const HeadArgs& args, int row, const PackedRows& x) {
  const float* stats = head_stats(context, x, args.inv_temperature + row, args.target + row, args.logp + row);
  context.pool.run(x.rows, [&](std::int64_t m, int thread) {
    float* weights = context.scratch.threads[std::size_t(thread)].logits.at_least<float>(std::size_t(context.chunks()));
    write_total(context, args, row + static_cast<int>(m), stats_of(stats, static_cast<int>(m), context.chunks()),
                weights);
  });
}

}  // namespace

void CpuBackend::head(const HeadArgs& args) {
  const PackedWeight& weight = packed(args.weight, product_, "head");
  const HeadContext context{product_, head_, pool_, *scratch_, weight};
  for (int i = 0; i < args.rows; ++i) {
    check(args.target[i] >= 0 && args.target[i] < weight.out, "ERR_ARGUMENT", "head: target ", i, ": expected 0 to ",
          weight.out - 1, ", found ", args.target[i]);
  }
  for (int row = 0; row < args.rows; row += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, args.rows - row);
    const auto* x = static_cast<const std::byte*>(args.x) + std::size_t(row) * std::size_t(weight.in) * size_of(dtype_);
    const PackedRows packed_x = pack_rows(product_, pool_, *scratch_, rows, weight.in, x);
    if (args.dx) {
      score_with_dx(context, args, row, packed_x);
    } else {
      score(context, args, row, packed_x);
    }
  }
}

}  // namespace tinylora
