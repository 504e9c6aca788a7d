// attention_forward in AMX tiles, for bf16 and a head_dim that is a multiple of 32. For a tile of 16 queries and a page
// of 32 keys:
//   scores [16, 32] = q k^T,  p and the corrections by attention_softmax.h,  out [16, D] = out e^(m - m') + p v
// p is rounded to bf16; scores and out are sums in float, scores with D ascending, out with keys ascending.
//
// Tiling: a page lies in memory as the instruction wants its right side (attention_kernels.h), 16 pairs of D by 16 keys
// for the scores, 16 pairs of keys by 16 columns of D for the values, so that nothing is packed. A tile of queries and
// a page take D / 8 dots of 16 x 16 x 32, half of them for the scores.
//
// Memory traffic: a page, 64 D numbers of bf16, once for the two tiles of a chunk; the next page is prefetched. Scores,
// p and out go through the first-level cache, since tiles and vector registers exchange nothing directly.
//
// A query that sees only a part of a page, or nothing of it, meets the other keys with a p of exactly 0, which leaves
// its sums as they are if the values of those keys are finite. Slots that nobody has written may hold NaN: the values
// of keys that no query of the chunk sees are read as zeros.
#pragma once

#include <cstring>

#include "cpu/amx_tiles.h"
#include "cpu/attention_chunk.h"

namespace tinylora::TINYLORA_ISA {

static_assert(kPageSize == amx::kInputs, "a row of probabilities of a page is a row of a tile");

using QueryTile = QueryBlock<Bf16, amx::kRows>;

/// scores [amx::kRows, kPageSize] = q k^T.
TINYLORA_INLINE void scores_of_page(int head_dim, const Bf16* q, const Bf16* keys, float* scores) {
  const std::size_t q_row = std::size_t(head_dim) * sizeof(Bf16);
  constexpr std::size_t kKeyRow = kPageSize * 2 * sizeof(Bf16);
  amx::written();
  TINYLORA_TILE_ZERO(0);
  TINYLORA_TILE_ZERO(1);
  for (int d = 0; d < head_dim; d += amx::kInputs) {
    const Bf16* pairs = keys + d * kPageSize;
    TINYLORA_TILE_LOAD(4, q + d, q_row);
    TINYLORA_TILE_LOAD(6, pairs, kKeyRow);
    TINYLORA_TILE_LOAD(7, pairs + 2 * amx::kRows, kKeyRow);
    TINYLORA_TILE_DOT(0, 4, 6);
    TINYLORA_TILE_DOT(1, 4, 7);
  }
  TINYLORA_TILE_STORE(0, scores, kPageSize * sizeof(float));
  TINYLORA_TILE_STORE(1, scores + amx::kRows, kPageSize * sizeof(float));
}

/// out [amx::kRows, D] += p v, p [amx::kRows, kPageSize].
TINYLORA_INLINE void add_values_of_page(int head_dim, const Bf16* p, const Bf16* values, float* out) {
  const std::size_t row = std::size_t(head_dim) * sizeof(float);  // of out, and of a pair of keys
  amx::written();
  TINYLORA_TILE_LOAD(4, p, kPageSize * sizeof(Bf16));
  for (int d = 0; d < head_dim; d += 2 * amx::kRows) {
    TINYLORA_TILE_LOAD(0, out + d, row);
    TINYLORA_TILE_LOAD(6, values + 2 * d, row);
    TINYLORA_TILE_LOAD(1, out + d + amx::kRows, row);
    TINYLORA_TILE_LOAD(7, values + 2 * (d + amx::kRows), row);
    TINYLORA_TILE_DOT(0, 4, 6);
    TINYLORA_TILE_DOT(1, 4, 7);
    TINYLORA_TILE_STORE(0, out + d, row);
    TINYLORA_TILE_STORE(1, out + d + amx::kRows, row);
  }
}

TINYLORA_INLINE void zero_row(int count, Bf16* to) { std::memset(to, 0, std::size_t(count) * sizeof(Bf16)); }

/// One page for one tile of queries.
TINYLORA_INLINE void visit_page(const HeadShape& shape, const ChunkPositions& positions, QueryTile& tile, int index,
                                const Bf16* keys, const Bf16* values) {
  int seen[amx::kRows];
  int skip = 0;  // the first queries may stand before the page
  for (int i = 0; i < tile.rows; ++i) {
    seen[i] = positions.keys_seen(tile.first + i, index);
    if (seen[i] <= 0) skip = i + 1;
  }
  if (skip == tile.rows) return;

  alignas(64) float scores[amx::kRows * kPageSize];
  alignas(64) Bf16 p[amx::kRows * kPageSize];
  alignas(64) float correction[RunningSoftmax<amx::kRows>::kPadded];
  scores_of_page(shape.head_dim, tile.q, keys, scores);
  tile.softmax.add_page(skip, tile.rows, seen, shape.scale, scores, p, correction);
  for (int i = 0; i < amx::kRows; ++i) {
    if (i < skip || i >= tile.rows) zero_row(kPageSize, p + i * kPageSize);
  }
  for (int i = skip; i < tile.rows; ++i) {
    if (correction[i] == 1) continue;  // no larger score
    float* out = tile.out + i * shape.head_dim;
    for (int d = 0; d < shape.head_dim; d += kLanes) {
      (Floats::load(out + d) * Floats::all(correction[i])).store(out + d);
    }
  }
  add_values_of_page(shape.head_dim, p, values, tile.out);
}

/// A page's values [kPageSize / 2][D][2]: those of the first `seen` keys, zeros for the others.
TINYLORA_INLINE void copy_values(int head_dim, int seen, const Bf16* values, Bf16* to) {
  const int pair = 2 * head_dim;
  const int pairs = (seen + 1) / 2;
  std::memcpy(to, values, std::size_t(pairs * pair) * sizeof(Bf16));
  if (seen % 2 != 0) {
    for (int i = (pairs - 1) * pair + 1; i < pairs * pair; i += 2) to[i] = {};
  }
  zero_row((kPageSize / 2 - pairs) * pair, to + pairs * pair);
}

/// head_dim is a multiple of amx::kInputs.
inline void attention_forward_amx(const AttentionArgs& args, const QueryChunk& chunk) {
  const HeadShape shape(args);
  alignas(64) Bf16 last_values[kPageSize * kMaxHeadDim];
  const amx::Scope scope;
  forward_chunk<Bf16, Bf16, amx::kRows>(
      args, shape, chunk,
      [&](const ChunkPositions& positions, auto& queries, int index, const Bf16* keys, const Bf16* values) {
        const int seen = positions.keys_seen(queries.last(), index);
        if (seen < kPageSize) {
          copy_values(shape.head_dim, seen, values, last_values);
          values = last_values;
        }
        for (int b = 0; b < queries.blocks; ++b) visit_page(shape, positions, queries.block[b], index, keys, values);
      });
}

}  // namespace tinylora::TINYLORA_ISA
