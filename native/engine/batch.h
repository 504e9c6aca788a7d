// The one packed form of tokens that sampling and training share: rows of tokens, spans over them, pages behind the spans.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/ops.h"

namespace tinylora {

/// Built on the host, a span (run of tokens of one sequence) at a time; `upload` makes the ops' view of it.
struct Batch {
  std::vector<std::int32_t> tokens;    // [M]
  std::vector<std::int32_t> adapter;   // [M] slot of each row, -1 for the base model
  std::vector<std::int32_t> position;  // [M]
  std::vector<std::int32_t> store_row;
  std::vector<std::int32_t> store_slot;
  std::vector<std::int32_t> span_row;
  std::vector<std::int32_t> span_rows;
  std::vector<std::vector<std::int32_t>> span_pages;  // pages of the span's sequence from position 0

  int rows() const { return static_cast<int>(tokens.size()); }
};

}  // namespace tinylora
