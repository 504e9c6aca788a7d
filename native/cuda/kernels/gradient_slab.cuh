// A slab of the heads in shared memory: up to kGradientColumns columns of 32 queries (q, d_out) and of a page's 32 keys
// and values, as float. For the backward pass of attention without tensor cores (attention_backward.cu).
#pragma once

#include "act.cuh"
#include "attention_readers.cuh"
#include "span_tile.cuh"

namespace tinylora::cuda {

template <typename T>
struct Operand {
  const T* from;
  float* to;
};

/// A slab of the heads in shared memory; rows of `stride` floats, odd, so that lanes a row apart meet different banks.
/// kParts: elements of D that a lane owns, of the largest heads.
template <int kParts>
struct Tiles {
  static constexpr int kPartsOfSlab = kParts * 32 < kGradientColumns ? kParts : kGradientColumns / 32;
  static constexpr int kSlabs = kParts / kPartsOfSlab;

  float* q;  // [queries, stride]
  float* d_out;
  float* keys;  // [keys, stride]
  float* values;
  int dim;
  int stride;
  int first = 0;    // column of the heads
  int columns = 0;  // of the slab

  __device__ Tiles(float* memory, int dim) : dim(dim), stride(min(dim, kGradientColumns) + 1) {
    q = memory;
    d_out = q + kGradientTile * stride;
    keys = d_out + kGradientTile * stride;
    values = keys + kPageSize * stride;
  }

  /// Slabs that D takes.
  __device__ int slabs() const { return kSlabs == 1 ? 1 : (dim + kGradientColumns - 1) / kGradientColumns; }

  __device__ void choose(int slab) {
    first = slab * kGradientColumns;
    columns = min(dim - first, kGradientColumns);
  }

  /// The slab of 32 rows of each operand; offset(i) is where row i begins, negative for zeros.
  template <class Offset, typename... T>
  __device__ void load_rows(const Offset& offset, const Operand<T>&... operands) const {
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x / 32); i < kPageSize; i += kGradientThreads / 32) {
      const long long row = offset(i), from = row + first;
#pragma unroll
      for (int j = 0; j < kPartsOfSlab; ++j) {
        const int d = static_cast<int>(threadIdx.x % 32) + 32 * j;
        if (d >= columns) continue;
        ((operands.to[i * stride + d] = row < 0 ? 0.0F : load(operands.from + from + d)), ...);
      }
    }
  }
};

/// Keys, and values if asked for, of a page; zeros from key `seen` on.
template <typename T, bool kValues = true, int kParts>
__device__ void load_page(const Heads& heads, int page, int seen, const Tiles<kParts>& tiles) {
  const AttentionBackwardArgs& args = heads.task.args;
  const long long first = (static_cast<long long>(page) * args.kv_heads + heads.kv_head) * kPageSize * heads.dim();
  const auto offset = [&](int t) { return t < seen ? first + t * heads.dim() : -1; };
  const Operand<T> keys{static_cast<const T*>(args.pages.keys), tiles.keys};
  if constexpr (kValues) {
    tiles.load_rows(offset, keys, Operand<T>{static_cast<const T*>(args.pages.values), tiles.values});
  } else {
    tiles.load_rows(offset, keys);
  }
}

/// q and d_out of a tile's queries, zeros past the last one.
template <typename T, int kParts>
__device__ void load_queries(const Heads& heads, const SpanTile& tile, const Tiles<kParts>& tiles) {
  const AttentionBackwardArgs& args = heads.task.args;
  const auto offset = [&](int i) { return i < tile.count ? heads.index(tile.span, tile.first + i) * heads.dim() : -1; };
  tiles.load_rows(offset, Operand<T>{static_cast<const T*>(args.q), tiles.q}, Operand<float>{args.d_out, tiles.d_out});
}

}  // namespace tinylora::cuda
