// What both versions of attention's backward pass need to know: where the queries of one kv head lie, and which spans
// read a page. Pages are shared, and a page's gradient has one owner: the first span that reads it. A shared page
// stands at the same place in every page table.
#pragma once

#include "attention.h"
#include "warp.cuh"

namespace tinylora::cuda {

struct Heads {
  const AttentionBackwardTask& task;
  int kv_head;

  __device__ int dim() const { return task.args.head_dim; }
  __device__ int group() const { return task.args.heads / task.args.kv_heads; }
  __device__ int row(int span, int query) const { return task.layout.span_row[span] + query / group(); }
  __device__ long long index(int span, int query) const {
    return static_cast<long long>(row(span, query)) * task.args.heads + kv_head * group() + query % group();
  }
  __device__ int page(int span, int number) const {
    return task.layout.page_table[static_cast<long long>(span) * task.layout.max_pages + number];
  }
  /// The first query of the span that sees a key of page `number`.
  __device__ int first_reader(int span, int number) const {
    return max(number * kPageSize - task.layout.position[task.layout.span_row[span]], 0) * group();
  }
  __device__ int last_position(int span) const {
    return task.layout.position[task.layout.span_row[span] + task.layout.span_rows[span] - 1];
  }
};

/// Whether the span reads `page` as page `number` of its sequence.
__device__ inline bool reads(const Heads& heads, int span, int number, int page) {
  return heads.task.layout.span_rows[span] > 0 && heads.last_position(span) / kPageSize >= number &&
         heads.page(span, number) == page;
}

/// Whether the span reads its page `number`, as the first that does. All kThreads of the block must call.
template <int kThreads>
__device__ bool owns(const Heads& heads, int owner, int number) {
  if (heads.task.layout.span_rows[owner] == 0 || heads.last_position(owner) / kPageSize < number) return false;
  const int page = heads.page(owner, number);
  bool owned_before = false;
  for (int span = static_cast<int>(threadIdx.x); span < owner; span += kThreads) {
    owned_before = owned_before || reads(heads, span, number, page);
  }
  return !__syncthreads_or(owned_before);
}

/// Calls body(span) for every span that reads the owner's page `number`, ascending. `readers`: shared, a word a warp.
/// All kThreads of the block must call.
template <int kThreads, class Body>
__device__ void for_each_reader(const Heads& heads, int owner, int number, unsigned* readers, const Body& body) {
  const int page = heads.page(owner, number), thread = static_cast<int>(threadIdx.x);
  for (int from = owner; from < heads.task.layout.spans; from += kThreads) {
    const int span = from + thread;
    const unsigned found =
        __ballot_sync(kWholeWarp, span < heads.task.layout.spans && reads(heads, span, number, page));
    if (thread % 32 == 0) readers[thread / 32] = found;
    __syncthreads();
    for (int word = 0; word < kThreads / 32; ++word) {
      for (unsigned bits = readers[word]; bits != 0; bits &= bits - 1) {
        body(from + 32 * word + __ffs(static_cast<int>(bits)) - 1);
      }
    }
    __syncthreads();
  }
}

}  // namespace tinylora::cuda
