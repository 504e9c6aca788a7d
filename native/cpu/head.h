// The vocabulary head in chunks: what scoring (head.cpp), its backward pass (head_backward.cpp, head_gradient.cpp) and
// sampling (head_sample.cpp) share. A token's log-probability comes from the same code, and so the same bits, in all of
// them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/head_kernels.h"
#include "cpu/product.h"
#include "ops/head.h"

namespace tinylora {

/// Tokens of a chunk: a whole number of panels of every instruction set.
inline constexpr int kVocabChunk = 192;
constexpr int chunks_of(int vocab) { return (vocab + kVocabChunk - 1) / kVocabChunk; }

/// Rows whose logits of a chunk are made at once: enough for a panel to pay its way into the first-level cache, few
/// enough for the logits to stay in the second.
inline constexpr int kLogitRows = 128;
inline int logit_blocks(const ProductKernels& kernels) { return std::max(1, kLogitRows / kernels.block); }

struct HeadContext {
  const ProductKernels& product;
  const HeadKernels& head;
  ThreadPool& pool;
  ProductScratch& scratch;
  const PackedWeight& weight;

  int vocab() const { return weight.out; }
  int chunks() const { return chunks_of(weight.out); }
  int chunk_tokens(int chunk) const;
};

/// The statistics of up to kRowsAtOnce rows, for each row the three arrays of ChunkStats: [rows, 3, chunks].
struct RowStats {
  const float* largest;   // [chunks]
  const float* sum;       // [chunks]
  const float* weighted;  // [chunks]
};
RowStats stats_of(const float* stats, int row, int chunks);
/// scratch.stats for so many rows.
float* stats_of_rows(const HeadContext& context, int rows);
/// to: a row's statistics, from the chunk on.
void put_stats(float* to, int chunks, const ChunkStats& stats);

/// Over the whole vocabulary: l of the largest logit, sum e^(l - largest), sum e^(l - largest) (l - largest).
struct RowTotal {
  float largest;
  double sum;
  double weighted;

  float logp(float l) const;
  float lse() const;
  float entropy() const;
};

/// Unscaled logits of packed rows [first_block, last_block) for one chunk, [rows, kVocabChunk] each row. `cached`: this
/// thread has just read the chunk's weights.
void chunk_logits(const HeadContext& context, const PackedRows& rows, int first_block, int last_block, int chunk,
                  ProductScratch::Thread& own, float* logits, bool cached = false);

/// Statistics of all chunks, [rows, 3, chunks] in scratch.stats; with targets also l of each row's target.
const float* head_stats(const HeadContext& context, const PackedRows& rows, const float* inv_temperature,
                        const std::int32_t* target, float* target_l);

/// `weights` gets e^(largest of the chunk - largest of all), [chunks].
RowTotal total_of(const HeadKernels& kernels, const RowStats& stats, int chunks, float* weights);
/// logp, entropy and lse of row m of args. logp holds l of the target before; weights: scratch, [chunks].
RowTotal write_total(const HeadContext& context, const HeadArgs& args, int m, const RowStats& stats, float* weights);

/// Rows row, row + 1, ... of args, x packed: logp, entropy and lse, and in dx d logp / dx.
void score_with_dx(const HeadContext& context, const HeadArgs& args, int row, const PackedRows& x);

}  // namespace tinylora
