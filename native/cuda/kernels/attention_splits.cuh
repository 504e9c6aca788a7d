// Decoding, split by split: which queries a block works on, and where the part of each is kept until attention_combine
// adds them up.
//
// Splits of kSplitPages pages are worked on by themselves, so that a long sequence is not one long chain, and a split
// that neighbouring spans share (the prompt of a group of completions; SequenceLayout::span_shared) is read once for as
// many of them as fit in a tile. A block takes split blockIdx.z of a span, and every gridDim.z-th from there: the grid
// is as large as keeps the device busy, and does not depend on positions, so a graph can hold it. The spans of a tile
// take turns in leading it, by the number of the split.
#pragma once

#include "attention_tile.cuh"

namespace tinylora::cuda {

/// How many neighbours of `span` share its first `pages` pages: spans before it, and spans after it, of which no more
/// are counted once there are `most`.
struct Company {
  int before = 0;
  int behind = 0;

  __device__ Company(const SequenceLayout& layout, int span, int pages, int most) {
    if (layout.span_shared == nullptr) return;
    const int lane = static_cast<int>(threadIdx.x % 32);
    for (int found = 32; found == 32 && span - before > 0; before += found) {
      const int at = span - before - lane;
      found = count(at > 0 && layout.span_shared[at] >= pages);
    }
    for (int found = 32; found == 32 && behind < most; behind += found) {
      const int at = span + behind + 1 + lane;
      found = count(at < layout.spans && layout.span_shared[at] >= pages);
    }
  }
  /// How many lanes the condition holds in before the first in which it does not.
  __device__ static int count(bool holds) {
    const unsigned not_held = ~__ballot_sync(kWholeWarp, holds);
    return not_held == 0 ? 32 : __ffs(static_cast<int>(not_held)) - 1;
  }
};

/// The tile of this block and split, kQueries at most: of one span a part of its queries, or of spans that share the
/// split; none where another block takes it.
template <int kQueries, bool kGroups>
__device__ SpanTile decode_tile(const AttentionTask& task, int group, int split) {
  const int parts = (group + kQueries - 1) / kQueries;
  const int span = static_cast<int>(blockIdx.x) / parts;
  if (!kGroups || parts > 1) {
    const int first = static_cast<int>(blockIdx.x) % parts * kQueries;
    return {span, first, min(group - first, kQueries)};
  }
  const int most = kQueries / group;
  const Company company(task.layout, span, (split + 1) * kSplitPages, most);
  const int place = company.before % most;
  const int spans = min(place + 1 + company.behind, most);
  if (place != split % spans) return {};
  return {span - place, 0, spans * group};
}

/// Place of a query's part of a split, in [splits, M, H].
__device__ long long part_index(const AttentionTask& task, int split, long long query) {
  return static_cast<long long>(split) * task.layout.rows * task.args.heads + query;
}

/// Whether a sequence that ends at `position` is one split, which is finished at once.
__device__ inline bool is_one_split(int position) { return position < kSplitPages * kPageSize; }

/// Calls body(split, last position of the span) with each tile of this block in queries.tile.
template <int kQueries, bool kGroups, class Body>
__device__ void visit_splits(Queries& queries, Body body) {
  const SequenceLayout& layout = queries.task.layout;
  const int group = queries.group(), parts = (group + kQueries - 1) / kQueries;
  const int own = layout.position[layout.span_row[static_cast<int>(blockIdx.x) / parts]];
  for (int split = static_cast<int>(blockIdx.z); split * kSplitPages * kPageSize <= own;
       split += static_cast<int>(gridDim.z)) {
    queries.tile = decode_tile<kQueries, kGroups>(queries.task, group, split);
    if (queries.tile.span >= 0) body(split, own);
  }
}

}  // namespace tinylora::cuda
