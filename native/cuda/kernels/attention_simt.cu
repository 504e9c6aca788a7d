// out = softmax(q k^T / sqrt(D)) v over positions 0 .. position[m] of the row's own sequence, and lse their
// log-sum-exp, for float engines, and heads that tensor cores' tiles do not fit (D % 8 != 0, D > 128): attention_simt_*
// for spans of many rows as attention.cu, attention_simt_decode_* for spans of one row as attention_decode.cu, with the
// same bits.
//
// Bytes: each page once a tile, of 32 queries (D > 128: 16) or, decoding, of 64 (16): a split that neighbouring spans
// share is read once for 10 spans of 6 heads a kv head. Operations, a page and query: 2 D fmaf a lane. Decoding few
// sequences memory is the limit, otherwise fmaf and the reads of shared memory, 8 for 16 fmaf.
#include "attention_simt.cuh"
#include "attention_splits.cuh"

namespace tinylora::cuda {
namespace {

/// Grid: tiles, kv heads.
template <typename T, int kDim>
__device__ void attention_simt(const AttentionTask& task) {
  extern __shared__ uint4 memory[];
  constexpr int kSets = SimtShape<kDim>::kManySets, kTile = SimtShape<kDim>::template kTile<kSets>;
  Queries queries{task, {}, static_cast<int>(blockIdx.y)};
  queries.tile = find_tile(task.layout, queries.group(), kTile, heaviest_first());
  if (queries.tile.span < 0) return;

  const int last = task.layout.position[queries.row(queries.end() - 1)];
  SimtBlock<T, kDim, kSets> block(queries, memory);
  block.start([&](int i) { return block.has(i) ? task.layout.position[queries.row(block.query(i))] : 0; });
  typename SimtBlock<T, kDim, kSets>::Sums totals;
  totals.clear(kNothing);
  block.visit_pages(0, last / kPageSize + 1, last, [&](int first_key) { block.add_split(totals, first_key); });
  block.finish(totals);
}

/// The parts of a split, as attention_combine reads them.
template <class Block>
__device__ void store_parts(const Block& block, int split) {
  const AttentionParts& parts = block.queries.task.parts;
  const long long first = part_index(block.queries.task, split, 0), own = block.own_index();
  block.store_out(block.sums, 1, parts.out + first * block.dim);
  if (own < 0) return;
  parts.largest[first + own] = block.sums.largest;
  parts.total[first + own] = block.sums.total;
}

/// Grid: spans (times the parts of more heads a kv head than a tile has queries), kv heads, splits at once.
template <typename T, int kDim>
__device__ void attention_simt_decode(const AttentionTask& task) {
  extern __shared__ uint4 memory[];
  constexpr int kSets = SimtShape<kDim>::kDecodeSets, kTile = SimtShape<kDim>::template kTile<kSets>;
  Queries queries{task, {}, static_cast<int>(blockIdx.y), true};
  visit_splits<kTile, true>(queries, [&](int split, int own) {
    const int begin = split * kSplitPages, end = min(begin + kSplitPages, own / kPageSize + 1);
    SimtBlock<T, kDim, kSets> block(queries, memory);
    block.start([&](int) { return own; });  // all keys of a split that spans share are before all of them
    block.visit_pages(begin, end, own, [](int) {});
    if (is_one_split(own)) {
      block.finish(block.sums);
    } else {
      store_parts(block, split);
    }
  });
}

}  // namespace

#define TINYLORA_ATTENTION(T, dim, Type)                                                                         \
  extern "C" __global__ __launch_bounds__(kSimtThreads,                                                          \
                                          2) void attention_simt_decode_##T##_##dim(AttentionTask task) {        \
    attention_simt_decode<Type, dim>(task);                                                                      \
  }                                                                                                              \
  extern "C" __global__ __launch_bounds__(kSimtThreads, 2) void attention_simt_##T##_##dim(AttentionTask task) { \
    attention_simt<Type, dim>(task);                                                                             \
  }
TINYLORA_ATTENTION(f32, 64, float)
TINYLORA_ATTENTION(f32, 128, float)
TINYLORA_ATTENTION(f32, 256, float)
TINYLORA_ATTENTION(bf16, 256, __nv_bfloat16)
TINYLORA_ATTENTION(f16, 256, __half)
#undef TINYLORA_ATTENTION

}  // namespace tinylora::cuda
