// What the attention kernels ask of a model's heads, and how many tiles their grids need.
#pragma once

#include <algorithm>

#include "core/error.h"
#include "ops/attention.h"

namespace tinylora::cuda {

using tinylora::kMaxHeadDim;

inline void check_heads(const char* op, int heads, int kv_heads, int head_dim) {
  check(head_dim >= 2 && head_dim <= kMaxHeadDim && head_dim % 2 == 0, "ERR_ARGUMENT", op,
        ": expected an even head_dim up to ", kMaxHeadDim, ", found ", head_dim);
  check(kv_heads >= 1 && heads % kv_heads == 0, "ERR_ARGUMENT", op, ": expected a multiple of ", kv_heads,
        " heads, found ", heads);
}

/// At least as many tiles of `size` queries as the spans of the layout come to, `group` queries a row.
inline unsigned most_tiles(const SequenceLayout& layout, int group, int size) {
  const auto rows = static_cast<unsigned>(layout.rows);
  const auto queries = static_cast<unsigned>(group);
  const auto tile = static_cast<unsigned>(size);
  return std::min(rows * ((queries + tile - 1) / tile), rows * queries / tile + static_cast<unsigned>(layout.spans));
}

}  // namespace tinylora::cuda
