// Attention of rows that continue their sequences by one token (spans of one row), for bf16 and fp16: out and lse as
// attention.cu has them, bit for bit.
//
// Splits of kSplitPages pages are worked on by themselves, so that a long sequence is not one long chain, and a split
// that neighbouring spans share (the prompt of a group of completions; SequenceLayout::span_shared) is read once for as
// many of them as fit in a tile: their queries are the rows of the mma, 64 in the 4 warps of a block, 10 spans of 6
// heads a kv head; a tile of one span leaves warps that only copy. Where no span shares a whole split, blocks are one
// warp with a span each (attention_decode_*, else attention_decode_group_*). The part that a split leaves of each query
// (o, m, l in fp32) goes to memory, and attention_combine adds the parts in order; a sequence of one split is finished
// at once. A block takes split blockIdx.z of a span, and every gridDim.z-th
// from there: the grid is as large as keeps the device busy, and does not hang on positions, so a graph can hold it.
// The spans of a tile take turns in leading it, by the number of the split.
//
// Bytes: keys and values of a split once a tile (2 D kSplitPages 32 numbers of 16 bits), and of each query and split
// 2 (D + 2) 4 written and read, which L2 keeps: of a split of its own 10 % at 6 heads a kv head. Memory is the limit.
#include "attention_tile.cuh"

namespace tinylora::cuda {
namespace {

/// Spans that share a number of leading pages with `span`, before it and behind it; behind it `most` at least are seen.
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
  /// Lanes that hold the condition, up to the first that does not.
  __device__ static int count(bool holds) {
    const unsigned not_held = ~__ballot_sync(kWholeWarp, holds);
    return not_held == 0 ? 32 : __ffs(static_cast<int>(not_held)) - 1;
  }
};

/// The tile of this block and split: of one span a part of its queries, or of spans that share the split; none where
/// another block takes it.
template <int kQueries>
__device__ SpanTile decode_tile(const AttentionTask& task, int group, int split) {
  const int parts = (group + kQueries - 1) / kQueries;
  const int span = static_cast<int>(blockIdx.x) / parts;
  if (kQueries == kAttentionTile || parts > 1) {
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

template <typename Half, int kDim>
__device__ void store_part(const Queries& queries, int first, int split, const Sums<kDim>& sums) {
  const int lane = static_cast<int>(threadIdx.x % 32), g = lane / 4, t = lane % 4;
  const int dim = queries.task.args.head_dim;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first + g + 8 * half;
    if (query >= queries.end()) continue;
    const long long index = part_index(queries.task, split, queries.index(query));
    float* out = queries.task.parts.out + index * dim;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      const int column = 8 * n + 2 * t;
      if (column >= dim) continue;
      *reinterpret_cast<float2*>(out + column) = make_float2(sums.out[n][2 * half], sums.out[n][2 * half + 1]);
    }
    if (t == 0) {
      queries.task.parts.largest[index] = sums.largest[half];
      queries.task.parts.total[index] = sums.total[half];
    }
  }
}

/// Grid: spans (times the parts of more heads a kv head than a tile has queries), kv heads, splits at once.
template <typename Half, int kDim, int kWarps>
__device__ void attention_decode(const AttentionTask& task) {
  extern __shared__ uint4 ring[];  // [stages, keys and values, 32 D / 8]
  Queries queries{task, {}, static_cast<int>(blockIdx.y), true};
  constexpr int kQueries = kWarps * kAttentionTile;
  const int group = queries.group(), parts = (group + kQueries - 1) / kQueries;
  const int own = task.layout.position[task.layout.span_row[static_cast<int>(blockIdx.x) / parts]];
  for (int split = static_cast<int>(blockIdx.z); split * kSplitPages * kPageSize <= own;
       split += static_cast<int>(gridDim.z)) {
    queries.tile = decode_tile<kQueries>(task, group, split);
    if (queries.tile.span < 0) continue;
    const int first = queries.tile.first + static_cast<int>(threadIdx.x / 32) * kAttentionTile;
    const int begin = split * kSplitPages, end = min(begin + kSplitPages, own / kPageSize + 1);
    WarpState<Half, kDim> state;
    start(queries, first, state);
    __syncthreads();  // the ring may still be read
    visit_pages(queries, first, begin, end, own, ring, state, [](int) {});
    if (own < kSplitPages * kPageSize) {
      Sums<kDim> totals;
      totals.clear();
      add_split(totals, state, 0);
      finish<Half>(queries, first, totals);
    } else {
      store_part<Half>(queries, first, split, state);
    }
  }
}

/// A warp a query: the parts of its splits, ascending. Grid: queries of all rows and heads, kCombineWarps a block.
template <typename Half>
__device__ void attention_combine(const AttentionTask& task) {
  constexpr int kColumns = 128 / 32;  // that a lane owns
  const int lane = static_cast<int>(threadIdx.x % 32), dim = task.args.head_dim;
  const long long query = static_cast<long long>(blockIdx.x) * kCombineWarps + threadIdx.x / 32;
  if (query >= static_cast<long long>(task.layout.rows) * task.args.heads) return;
  const int position = task.layout.position[query / task.args.heads];
  if (position < kSplitPages * kPageSize) return;

  float largest = kMinusInfinity, total = 0;
  float out[kColumns] = {};
  for (int split = 0; split * kSplitPages * kPageSize <= position; ++split) {
    const long long index = part_index(task, split, query);
    const SplitWeights weights(largest, task.parts.largest[index]);
    largest = weights.largest;
    total = weights.add(total, task.parts.total[index]);
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int d = lane + 32 * j;
      if (d < dim) out[j] = weights.add(out[j], task.parts.out[index * dim + d]);
    }
  }
  const float inverse = 1.0F / total;
#pragma unroll
  for (int j = 0; j < kColumns; ++j) {
    const int d = lane + 32 * j;
    if (d < dim) store(static_cast<Half*>(task.args.out) + query * dim + d, out[j] * inverse);
  }
  if (lane == 0 && task.args.lse != nullptr) task.args.lse[query] = largest + logf(total);
}

}  // namespace

// The groups first: benchmarks/cuda/registers.mjs takes the first name that fits. Without the 1, ptxas spills to stay
// at 128 registers.
#define TINYLORA_ATTENTION(T, dim, Half)                                                                 \
  extern "C" __global__ __launch_bounds__(kAttentionThreads) void attention_decode_group_##T##_##dim(    \
      AttentionTask task) {                                                                              \
    attention_decode<Half, dim, kAttentionWarps>(task);                                                  \
  }                                                                                                      \
  extern "C" __global__ __launch_bounds__(32, 1) void attention_decode_##T##_##dim(AttentionTask task) { \
    attention_decode<Half, dim, 1>(task);                                                                \
  }
TINYLORA_ATTENTION(bf16, 32, __nv_bfloat16)
TINYLORA_ATTENTION(bf16, 64, __nv_bfloat16)
TINYLORA_ATTENTION(bf16, 128, __nv_bfloat16)
TINYLORA_ATTENTION(f16, 32, __half)
TINYLORA_ATTENTION(f16, 64, __half)
TINYLORA_ATTENTION(f16, 128, __half)
#undef TINYLORA_ATTENTION

extern "C" __global__ __launch_bounds__(kCombineWarps * 32) void attention_combine_bf16(AttentionTask task) {
  attention_combine<__nv_bfloat16>(task);
}
extern "C" __global__ __launch_bounds__(kCombineWarps * 32) void attention_combine_f16(AttentionTask task) {
  attention_combine<__half>(task);
}

}  // namespace tinylora::cuda
