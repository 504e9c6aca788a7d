// Sampling from the head. The statistics of the chunks say which chunk a draw falls into (or holds the maximum); only
// that chunk's logits are computed again. Rows that top_k, top_p or min_p cut need all their logits: a few rows at a
// time.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/philox.h"
#include "cpu/cpu_backend.h"
#include "cpu/head.h"
#include "cpu/truncated_draw.h"

namespace tinylora {
namespace {

/// Rows whose logits are held at once when they are cut: scratch is this times the vocabulary.
constexpr int kCutRows = 16;

float inverse(float temperature) { return temperature > 0 ? 1 / temperature : 1.0F; }
bool is_finite(const RowTotal& total) { return std::isfinite(total.sum) && std::isfinite(total.largest); }
double uniform_of(const SampleRow& how) { return sampling_uniform(how.seed, how.sequence, how.position); }

/// One row, packed alone: its logits have the bits that they have in any batch.
PackedRows pack_one(const HeadContext& context, const std::byte* x, ProductScratch::Thread& own) {
  PackTask task{};
  task.rows = 1;
  task.in = context.weight.in;
  task.padded_in = context.weight.padded_in;
  task.x = x;
  const std::size_t bytes = context.product.block_bytes(task.in);
  auto* block = own.rows.at_least<std::byte>(bytes);
  task.packed = block;
  context.product.pack(task);
  return {1, block, bytes};
}

/// The chunk a draw falls into; `left` is what is left of it there, in units of e^(largest).
int drawn_chunk(const RowStats& stats, const float* weights, int chunks, double& left) {
  int drawn = 0;
  double before = 0;
  double sum = 0;
  for (int c = 0; c < chunks; ++c) {
    const double mass = static_cast<double>(weights[c]) * static_cast<double>(stats.sum[c]);
    if (mass == 0) continue;
    drawn = c;
    before = sum;
    sum += mass;
    if (sum > left) break;
  }
  left -= before;
  return drawn;
}

struct Drawn {
  int token;
  float l;
};

Drawn most_likely(const float* l, int count, int first) {
  int best = 0;
  for (int i = 1; i < count; ++i) {
    if (l[i] > l[best]) best = i;
  }
  return {first + best, l[best]};
}

/// l [count]: logits at the row's temperature; e: scratch.
Drawn draw_in_chunk(const HeadKernels& kernels, const float* l, int count, int first, float largest, double left,
                    float* e) {
  std::memcpy(e, l, std::size_t(count) * sizeof(float));
  kernels.exponentials(e, count, 1, largest);
  int drawn = 0;
  for (int i = 0; i < count; ++i) {
    if (e[i] == 0) continue;
    drawn = i;
    left -= static_cast<double>(e[i]);
    if (left < 0) break;
  }
  return {first + drawn, l[drawn]};
}

Drawn draw_row(const HeadContext& context, const SampleRow& how, const RowStats& stats, const RowTotal& total,
               const float* weights, const std::byte* x, ProductScratch::Thread& own) {
  const int chunks = context.chunks();
  double left = uniform_of(how) * total.sum;
  const bool greedy = !(how.temperature > 0);
  const int chunk =
      greedy ? static_cast<int>(std::find(stats.largest, stats.largest + chunks, total.largest) - stats.largest)
             : drawn_chunk(stats, weights, chunks, left);
  // A block of logits, of which the first row is used, and room for its exponentials.
  float* l = own.logits.at_least<float>(std::size_t(context.product.block + 1) * kVocabChunk);
  float* e = l + context.product.block * kVocabChunk;
  const int count = context.chunk_tokens(chunk);
  chunk_logits(context, pack_one(context, x, own), 0, 1, chunk, own, l);
  const float scale = inverse(how.temperature);
  for (int i = 0; i < count; ++i) l[i] *= scale;
  if (greedy) return most_likely(l, count, chunk * kVocabChunk);
  return draw_in_chunk(context.head, l, count, chunk * kVocabChunk, total.largest, left, e);
}

/// Draws the rows `cut` (at most kCutRows) from all their logits.
void draw_cut_rows(const HeadContext& context, const HeadSampleArgs& args, const std::vector<int>& cut,
                   const std::vector<RowTotal>& totals, int first_row) {
  const PackedWeight& weight = context.weight;
  const std::size_t row_bytes = std::size_t(weight.in) * size_of(weight.dtype);
  std::vector<std::byte> x(row_bytes * cut.size());
  for (std::size_t i = 0; i < cut.size(); ++i) {
    std::memcpy(x.data() + i * row_bytes, static_cast<const std::byte*>(args.x) + std::size_t(cut[i]) * row_bytes,
                row_bytes);
  }
  const int rows = static_cast<int>(cut.size());
  const PackedRows packed_x = pack_rows(context.product, context.pool, context.scratch, rows, weight.in, x.data());
  float* logits = context.scratch.stats.at_least<float>(std::size_t(rows) * std::size_t(weight.out));
  context.pool.run(context.chunks(), [&](std::int64_t item, int thread) {
    const int chunk = static_cast<int>(item);
    ProductScratch::Thread& own = context.scratch.threads[std::size_t(thread)];
    float* part = own.logits.at_least<float>(std::size_t(kCutRows + context.product.block) * kVocabChunk);
    chunk_logits(context, packed_x, 0, context.product.blocks(rows), chunk, own, part);
    for (int i = 0; i < rows; ++i) {
      const float scale = inverse(args.how[cut[std::size_t(i)]].temperature);
      float* to = logits + std::ptrdiff_t{i} * weight.out + chunk * kVocabChunk;
      for (int v = 0; v < context.chunk_tokens(chunk); ++v) to[v] = part[i * kVocabChunk + v] * scale;
    }
  });
  context.pool.run(rows, [&](std::int64_t i, int thread) {
    const int m = cut[std::size_t(i)];
    const RowTotal& total = totals[std::size_t(m - first_row)];
    const float* l = logits + i * weight.out;
    float* e = context.scratch.threads[std::size_t(thread)].logits.at_least<float>(std::size_t(weight.out));
    std::memcpy(e, l, std::size_t(weight.out) * sizeof(float));
    context.head.exponentials(e, weight.out, 1, total.largest);
    args.token[m] = draw_truncated(l, e, weight.out, args.how[m], uniform_of(args.how[m]));
    args.logp[m] = total.logp(l[args.token[m]]);
  });
}

}  // namespace

void CpuBackend::head_sample(const HeadSampleArgs& args) {
  const PackedWeight& weight = packed(args.weight, product_, "head_sample");
  const HeadContext context{product_, head_, pool_, *scratch_, weight};
  const int chunks = context.chunks();
  const std::size_t row_bytes = std::size_t(weight.in) * size_of(dtype_);
  for (int row = 0; row < args.rows; row += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, args.rows - row);
    const auto* x = static_cast<const std::byte*>(args.x) + std::size_t(row) * row_bytes;
    const PackedRows packed_x = pack_rows(product_, pool_, *scratch_, rows, weight.in, x);
    std::vector<float> inv_temperature(static_cast<std::size_t>(rows));
    for (int m = 0; m < rows; ++m) inv_temperature[std::size_t(m)] = inverse(args.how[row + m].temperature);
    const float* stats = head_stats(context, packed_x, inv_temperature.data(), nullptr, nullptr);

    std::vector<RowTotal> totals(static_cast<std::size_t>(rows));
    pool_.run(rows, [&](std::int64_t m, int thread) {
      ProductScratch::Thread& own = scratch_->threads[std::size_t(thread)];
      float* weights = own.sums.at_least<float>(std::size_t(chunks));
      const RowStats row_stats = stats_of(stats, static_cast<int>(m), chunks);
      const RowTotal total = total_of(head_, row_stats, chunks, weights);
      totals[std::size_t(m)] = total;
      if (!is_finite(total)) {
        args.token[row + m] = -1;
        args.logp[row + m] = args.entropy[row + m] = std::numeric_limits<float>::quiet_NaN();
        return;
      }
      args.entropy[row + m] = total.entropy();
      if (args.how[row + m].is_cut()) return;
      const Drawn drawn =
          draw_row(context, args.how[row + m], row_stats, total, weights, x + std::size_t(m) * row_bytes, own);
      args.token[row + m] = drawn.token;
      args.logp[row + m] = total.logp(drawn.l);
    });

    std::vector<int> cut;
    for (int m = row; m < row + rows; ++m) {
      if (args.how[m].is_cut() && is_finite(totals[std::size_t(m - row)])) cut.push_back(m);
      if (cut.size() == kCutRows || (m + 1 == row + rows && !cut.empty())) {
        draw_cut_rows(context, args, cut, totals, row);
        cut.clear();
      }
    }
  }
}

}  // namespace tinylora
