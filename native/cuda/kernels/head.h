// Arguments of the head's kernels: head.cu (statistics, log-probabilities, gradient), head_product.cu, head_sample.cu,
// truncated_draw.cu.
#pragma once

#include <cstdint>

#include "ops/head.h"

namespace tinylora::cuda {

inline constexpr int kVocabChunk = 128;   // tokens of a tile, and of one set of statistics
inline constexpr int kHeadRows = 2048;    // scored in a pass: their statistics are 16 bytes a row and chunk
inline constexpr int kSampleRows = 1024;  // sampled in a pass
inline constexpr int kGroupChunks = 32;   // chunks whose e^l, or gradients of l, are in memory at once
inline constexpr int kTotalRuns = 128;    // a row's chunks are summed in this many runs, then the runs in order
inline constexpr int kLogitStride = kVocabChunk + 8;  // of a tile in shared memory: rows start 8 banks apart

constexpr int vocab_chunks(int vocab) { return (vocab + kVocabChunk - 1) / kVocabChunk; }

/// Tiles of logits. Rows, threads, and bytes of shared memory.
struct TileShape {
  int rows;
  int threads;
  unsigned shared_bytes;
};
inline constexpr int kHeadStages = 4;
constexpr unsigned larger(unsigned a, unsigned b) { return a > b ? a : b; }
constexpr unsigned bf16_tile_bytes(int rows) {
  return larger(static_cast<unsigned>(kHeadStages * (rows + kVocabChunk) * 32 * 2),
                static_cast<unsigned>(rows * kLogitStride * 4));
}
inline constexpr TileShape kManyRows = {128, 128, bf16_tile_bytes(128)};  // bf16 and fp16
inline constexpr TileShape kFewRows = {16, 128, bf16_tile_bytes(16)};     // bf16 and fp16
inline constexpr TileShape kFloatRows = {32, 256, (32 + kVocabChunk) * 33 * 4};

/// x [rows, width] act and W [vocab, w_stride] act: where logits come from.
struct HeadProduct {
  const void* x;
  const void* weight;
  int rows;
  int width;
  int weight_stride;  // elements
  int vocab;
};

/// Of one row in one chunk: the largest l, sum e^(l - largest), sum e^(l - largest) (l - largest).
struct alignas(16) ChunkStats {
  float largest;
  float sum;
  float weighted;
  float unused;
};

constexpr unsigned long long head_stats_bytes(int rows, int chunks) {
  return static_cast<unsigned long long>(rows) * static_cast<unsigned>(chunks) * sizeof(ChunkStats);
}

/// What a row's e^l were made with, in one chunk or up to a group of chunks: their unit (head_unit.cuh), their sum in
/// it, all as rounded to act and without the target, and the unit for what follows, which no l so far exceeds.
struct ExponentialSum {
  float unit;
  float sum;
  float next_unit;
};

/// Of the launch's chunks, first_chunk and on: stats [rows, chunks]; with targets also l of each row's target; with
/// kept, all logits of the rows whose kept is a place in `logits` (not -1); with exponentials, e^l of all tokens but
/// the target, rounded to act, zeros past the vocabulary, and what they were made with.
struct HeadStatsTask {
  HeadProduct product;
  const float* inv_temperature;
  ChunkStats* stats;
  int first_chunk;
  int chunks;                  // of the vocabulary
  const std::int32_t* target;  // or none
  float* target_l;
  const std::int32_t* kept;  // [rows] or none
  float* logits;             // [kept rows, vocab]
  void* exponentials;        // [rows, stride] act, or none
  int stride;
  const ExponentialSum* before;  // [rows], or none: of all chunks before first_chunk
  ExponentialSum* made;          // [chunks of the launch, rows]
};

/// From the statistics to the results of the head op; logp holds l of the target. dx, where there is one, holds
/// sum e^l W over all tokens but the target.
struct HeadTotalTask {
  HeadProduct product;
  const ChunkStats* stats;
  int chunks;
  const std::int32_t* target;
  const float* inv_temperature;
  float* logp;
  float* entropy;
  float* lse;
  float* dx;                     // [rows, width] or none
  const ExponentialSum* others;  // [rows], as dx is
};

/// dx [rows, width] *= d_logp.
struct HeadScaleTask {
  float* dx;
  const float* d_logp;
  int width;
};

/// g = d_logp inv_temperature (1[target] - softmax(l)) of tokens first_chunk * kVocabChunk .. of the group,
/// rounded to act, zeros past the vocabulary.
struct HeadGradientTask {
  HeadProduct product;
  const std::int32_t* target;
  const float* inv_temperature;
  const float* lse;
  const float* d_logp;
  void* gradient;  // [rows, gradient_stride] act
  int gradient_stride;
  int first_chunk;
};

inline constexpr int kProductColumns = 128;  // of dx, a tile: head_product.cu
constexpr unsigned product_bytes(int rows) {
  return static_cast<unsigned>(kHeadStages * (rows + kProductColumns) * 32 * 2);
}
inline constexpr TileShape kManyProductRows = {128, 128, product_bytes(128)};  // bf16 and fp16
inline constexpr TileShape kFewProductRows = {64, 128, product_bytes(64)};     // bf16 and fp16

/// dx = or += e^l W[first_token .. first_token + tokens), of a group: dx comes in the unit of `before`, and is left in
/// that of `after`, the largest of the group's chunks.
struct HeadProductTask {
  const void* exponentials;  // [rows, stride] act
  const void* weight;
  float* dx;  // [rows, width]
  int rows;
  int width;
  int weight_stride;
  int stride;
  int first_token;               // 0: nothing is in dx yet
  int tokens;                    // the rest of the vocabulary at most
  const ExponentialSum* made;    // [chunks of the group, rows]
  const ExponentialSum* before;  // [rows]
  ExponentialSum* after;         // [rows]
};

/// Of the rows of one pass: 1 / temperature (1 for greedy rows), and a place for the logits of each row that top_k,
/// top_p or min_p cut, in order of the rows; -1 for the others.
struct SampleRowsTask {
  const SampleRow* how;
  int rows;  // kSampleRows at most
  float* inv_temperature;
  std::int32_t* kept;
};

/// A token of each row, -1 (and logp and entropy NaN) where the logits are not finite.
struct HeadSampleTask {
  HeadProduct product;
  const float* inv_temperature;
  const ChunkStats* stats;
  const SampleRow* how;
  const std::int32_t* kept;  // as SampleRowsTask has it
  const float* logits;       // kept rows
  std::int32_t* token;
  float* logp;
  float* entropy;
};

inline constexpr int kTruncatedThreads = 512;  // at most

/// Threads of truncated_draw: some 32 tokens each, so that a small vocabulary does not wait for idle warps.
constexpr unsigned truncated_threads(int vocab) {
  const int warps = (vocab + 1023) / 1024;
  return static_cast<unsigned>((warps < kTruncatedThreads / 32 ? warps : kTruncatedThreads / 32) * 32);
}

}  // namespace tinylora::cuda
