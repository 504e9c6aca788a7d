// Arguments of the attention kernels (attention*.cu). The layout is passed by value: the pointer inside the op's own
// arguments is a host pointer.
#pragma once

#include "ops/attention.h"

namespace tinylora::cuda {

/// What splits leave of the queries until they are added up, by [split, M, H].
struct AttentionParts {
  float* out = nullptr;  // [.., D] sums of p v
  float* largest = nullptr;
  float* total = nullptr;
};

/// The update of the product that reads out, whose z and left the same pass makes (attention_update.cuh).
struct AttentionUpdate {
  const float* a = nullptr;               // [rank, H D]
  const float* r = nullptr;               // [adapters, rank, rank]
  const std::int32_t* adapter = nullptr;  // [M]
  float* z = nullptr;                     // [M, rank]
  float* left = nullptr;                  // [M, rank] zeros where the row has no adapter
  float* parts = nullptr;                 // [M, H, rank] of z
  unsigned* arrived = nullptr;            // [M] heads whose parts are there; zeros between launches
  int rank = 0;                           // none
};

struct AttentionTask {
  SequenceLayout layout;
  AttentionArgs args;
  AttentionUpdate update;
  AttentionParts parts;  // of decoding
};

struct AttentionBackwardTask {
  SequenceLayout layout;
  AttentionBackwardArgs args;
  float* delta;         // [M, H] d_out . out, written by the first pass, read by the second
  void* rounded_d_out;  // [M, H, D] act, likewise; of the tensor-core kernels
  void* rest_of_d_out;  // [M, H, D] act: what rounding leaves
};

inline constexpr int kAttentionTile = 16;      // queries of a warp on tensor cores
inline constexpr int kAttentionThreads = 128;  // of a block on tensor cores
inline constexpr int kAttentionWarps = kAttentionThreads / 32;
inline constexpr int kSplitPages = 4;       // pages of a split: keys that are a softmax of their own
inline constexpr int kCombineWarps = 8;     // one query each
inline constexpr int kAttentionStages = 3;  // pages in shared memory: one read, the next two on their way
inline constexpr int kSimtThreads = 256;    // of a block without tensor cores
inline constexpr int kSimtWarps = kSimtThreads / 32;
inline constexpr int kGradientTile = 32;      // queries of a block of the backward pass, without tensor cores
inline constexpr int kGradientColumns = 128;  // of the heads, in its shared memory at a time
inline constexpr int kGradientThreads = 256;
inline constexpr int kQueryTile = 32;      // queries that a page meets at once in the backward pass, on tensor cores
inline constexpr int kQueryStages = 2;     // such tiles in shared memory: one read, the next on its way
inline constexpr int kQueryThreads = 128;  // of a block that they pass

/// Head sizes the tensor-core kernel is compiled for; a smaller one is padded with zeros in shared memory.
constexpr int padded_head_dim(int head_dim) {
  return head_dim <= 32 ? 32 : head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 0;
}

/// Bytes of dynamic shared memory: the stages of keys and values.
constexpr unsigned attention_shared_bytes(int padded_dim) {
  return static_cast<unsigned>(kAttentionStages * 2 * kPageSize * padded_dim * 2);
}

/// Of attention_dkv_* on tensor cores: a page's keys and values, the stages of q and d_out, one rest of d_out.
constexpr unsigned query_stream_shared_bytes(int padded_dim) {
  return static_cast<unsigned>(((kPageSize + kQueryStages * kQueryTile) * 2 + kQueryTile) * padded_dim * 2);
}

/// Of a block of the backward pass without tensor cores: a slab of q, d_out, keys and values.
constexpr unsigned gradient_shared_bytes(int head_dim) {
  const int columns = head_dim < kGradientColumns ? head_dim : kGradientColumns;
  return static_cast<unsigned>(2 * (kGradientTile + kPageSize) * (columns + 1) * 4);
}

/// A block without tensor cores, of a kernel compiled for heads of up to kDim: 64, 128 or 256. A warp has `sets` sets
/// of kSet queries, a key that comes from shared memory serves a set.
template <int kDim>
struct SimtShape {
  static constexpr int kSet = kDim > 128 ? 2 : 4;
  static constexpr bool kSharesWeights = kDim <= 128;     // in shared memory; else lanes hand them over
  static constexpr int kManySets = 1;                     // spans of many rows
  static constexpr int kDecodeSets = kDim > 128 ? 1 : 2;  // 64 queries a block, where their shared memory allows
  template <int kSets>
  static constexpr int kTile = kSimtWarps * kSets * kSet;
};

/// Bytes of its dynamic shared memory for a tile of queries: a page of keys (rows 16 bytes apart) and of values, the
/// queries, and for each the weights of a page's keys.
template <int kDim>
constexpr unsigned simt_shared_bytes(int tile, int bytes_of_number) {
  const int weights = SimtShape<kDim>::kSharesWeights ? kPageSize : 0;
  return static_cast<unsigned>(kPageSize * (2 * kDim * bytes_of_number + 16) + tile * (kDim + weights) * 4);
}

}  // namespace tinylora::cuda
