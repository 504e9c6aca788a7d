// The inner loops of attention, one table an instruction set and dtype. The driver (attention.cpp) cuts the work into
// chunks and spreads them over threads; a chunk is computed by one thread.
//
// A layer's page holds, for each kv head,
//   fp32  keys [D][kPageSize]              values [kPageSize][D]
//   bf16  keys [D / 2][kPageSize][2]       values [kPageSize / 2][D][2]
// so that neighbouring lanes of a vector are keys when scores are summed over D, and elements of D when values are
// summed over keys. In bf16 the index that is summed over lies in pairs, as AVX-512 BF16 and AMX want the right side of
// a product.
//
// The rows of a span and the G = H / K query heads that read one kv head are numbered together: query i of a span is
// head i % G of row i / G. They are taken in chunks of kQueryChunk queries, so that a page is read once for all of a
// chunk.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "cpu/features.h"
#include "ops/attention.h"

namespace tinylora {

inline constexpr int kQueryChunk = 32;

/// Queries first .. first + count - 1 of a span, for one kv head.
struct QueryChunk {
  int span;
  int first;
  int count;
  int kv_head;
  int number;  // among all chunks of the call: by span, then by queries, then by kv head
  // More than one: spans span, span + 1, ... of a row each, forward only. Their queries are numbered on, and the first
  // `shared` pages of all of them are the same.
  int spans = 1;
  int shared = 0;
};

/// One page of the page table of a span.
struct PageUse {
  std::int32_t page;
  std::int32_t span;
  std::int32_t index;  // the page holds positions index * kPageSize ..
};

/// All uses of one page, spans ascending, for one kv head.
struct PageTask {
  const PageUse* uses;
  int count;
  int kv_head;
};

/// What the backward pass over queries leaves for the one over pages.
struct BackwardScratch {
  float* delta;       // [M, H] = d_out . out
  std::byte* chunks;  // chunk_bytes of each chunk
  std::size_t chunk_bytes;
  const int* first_chunk;  // [spans] number of a span's first chunk

  std::byte* chunk(int number) const { return chunks + static_cast<std::size_t>(number) * chunk_bytes; }
  /// Of the chunk that begins with query `first` of a span.
  std::byte* chunk(int span, int first, int kv_head, int kv_heads) const {
    return chunk(first_chunk[span] + first / kQueryChunk * kv_heads + kv_head);
  }
};

struct AttentionKernels {
  /// out and lse of a chunk.
  void (*forward)(const AttentionArgs&, const QueryChunk&);
  /// dq_out of a chunk, and what `backward_page` needs of it.
  void (*backward_queries)(const AttentionBackwardArgs&, const QueryChunk&, const BackwardScratch&);
  /// d_keys and d_values of all slots of a page.
  void (*backward_page)(const AttentionBackwardArgs&, const PageTask&, const BackwardScratch&);
  /// What they keep of a chunk beside delta.
  std::size_t (*chunk_bytes)(int head_dim);
};

extern const AttentionKernels kAttentionF32Avx2, kAttentionBf16Avx2;
extern const AttentionKernels kAttentionF32Avx512, kAttentionBf16Avx512, kAttentionBf16Avx512Bf16;
extern const AttentionKernels kAttentionBf16Amx, kAttentionBf16AmxEmulated;
extern const AttentionKernels kAttentionF32Neon, kAttentionBf16Neon, kAttentionBf16NeonBf16;

const AttentionKernels& attention_kernels(CpuPath path, DType dtype, int head_dim);

}  // namespace tinylora
