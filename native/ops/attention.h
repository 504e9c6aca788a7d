// Attention over pages of keys and values: where the rows of a batch stand, rotary embedding and store, softmax.
// Letters, "act" and the order of sums: ops.h.
#pragma once

#include <cstdint>

#include "ops/linear.h"

namespace tinylora {

/// Keys and values are kept in pages of this many consecutive positions, the first page from position 0. Attention
/// adds them up in this order: page by page on the CPU, in splits of four pages on CUDA.
inline constexpr int kPageSize = 32;

/// Largest head_dim that backends must take; kernels keep a head on their stacks and in their registers.
inline constexpr int kMaxHeadDim = 256;

/// Where the rows of a batch stand, shared by every layer. A slot is page * kPageSize + offset in the KV cache.
/// A page that a prompt fills is in the page tables of the prompt and of all its completions. The last tokens of a
/// prompt, which do not fill a page, are stored in the first own page of each completion as well: so a row may be
/// stored several times.
struct SequenceLayout {
  int rows = 0;
  const std::int32_t* position = nullptr;    // [M] of each row in its sequence, from 0
  int stores = 0;                            // number of (row, slot) pairs
  const std::int32_t* store_row = nullptr;   // [stores], ascending
  const std::int32_t* store_slot = nullptr;  // [stores]
  int spans = 0;                             // runs of rows of one sequence at consecutive positions
  const std::int32_t* span_row = nullptr;    // [spans] first row of each
  const std::int32_t* span_rows = nullptr;   // [spans] number of rows, at least one
  int max_pages = 0;                         // width of the page table
  const std::int32_t* page_table = nullptr;  // [spans, max_pages]: page that holds positions 32 j .. 32 j + 31
  int max_position = 0;                      // largest position among the rows
  // [spans] or none: how many leading pages each span has in common with the span before it, counting only pages before
  // the one that holds the first row of either. 0 for span 0. A hint, which lets a backend read shared pages once; it
  // changes no result.
  const std::int32_t* span_shared = nullptr;
  int most_shared = 0;   // largest of span_shared
  int decode_spans = 0;  // spans 0 .. decode_spans - 1 have one row each, span i row i. A hint: 0 is always right
};

/// One layer's keys and values, in the backend's own order within a page.
struct KvPages {
  int pages = 0;
  void* keys = nullptr;    // [pages, K, kPageSize, D] act
  void* values = nullptr;  // [pages, K, kPageSize, D] act
};

/// Query / key norm (Qwen3, when the gains are given), rotary embedding, and the store of keys and values.
/// Rotation of pair (i, i + D/2) by angle position * frequency[i], in float; scale multiplies cos and sin.
///   q_out = rope(norm(q)), pages[slot] = (rope(norm(k)), v) for every store.
struct RopeStoreArgs {
  const SequenceLayout* layout;
  int heads;
  int kv_heads;
  int head_dim;
  const float* cos;               // [max_position + 1, D / 2]
  const float* sin;               // [max_position + 1, D / 2]
  const float* q_gain = nullptr;  // [D] or none
  const float* k_gain = nullptr;  // [D] or none
  float epsilon = 0;
  const float* q;  // [M, H, D]
  const float* k;  // [M, K, D]
  const float* v;  // [M, K, D]
  void* q_out;     // [M, H, D] act
  KvPages pages;
};

/// Backward of rope_store: dq from dq_out; dk and dv from the gradients of all slots that a row was stored in, summed
/// over stores ascending.
struct RopeStoreBackwardArgs {
  const SequenceLayout* layout;
  int heads;
  int kv_heads;
  int head_dim;
  const float* cos;
  const float* sin;
  const float* q_gain = nullptr;
  const float* k_gain = nullptr;
  float epsilon = 0;
  const float* q;                         // [M, H, D] before norm and rotation; needed only with gains
  const float* k;                         // [M, K, D] likewise
  const float* dq_out;                    // [M, H, D]
  const float* d_keys;                    // [slots, K, D]
  const float* d_values;                  // [slots, K, D]
  void* dq;                               // [M, H, D] act
  void* dk;                               // [M, K, D] act
  void* dv;                               // [M, K, D] act
  LinearBackwardArgs* readers = nullptr;  // three, of dq, dk and dv, or none
};

/// out = softmax(q k^T / sqrt(D)) v over positions 0 .. position[m] of the row's own sequence, from position 0 on with
/// a running maximum. Head h reads kv head h / (H / K).
struct AttentionArgs {
  const SequenceLayout* layout;
  int heads;
  int kv_heads;
  int head_dim;
  const void* q;  // [M, H, D] act, from rope_store
  KvPages pages;
  void* out;             // [M, H, D] act
  float* lse = nullptr;  // [M, H] log-sum-exp of the scaled scores; kept for the backward pass
  Readers readers = {};  // of out, at most one
};

/// Writes dq_out [M, H, D], d_keys and d_values [slots, K, D] of every slot of every page in the layout's page tables.
/// A page shared by several spans sums their contributions, spans ascending.
struct AttentionBackwardArgs {
  const SequenceLayout* layout;
  int heads;
  int kv_heads;
  int head_dim;
  const void* q;  // [M, H, D] act
  KvPages pages;
  const void* out;     // [M, H, D] act
  const float* lse;    // [M, H]
  const float* d_out;  // [M, H, D]
  float* dq_out;       // [M, H, D]
  float* d_keys;       // [pages * kPageSize, K, D]
  float* d_values;     // [pages * kPageSize, K, D]
};

}  // namespace tinylora
