// The packed form of tokens that sampling and training share: rows of tokens, spans of rows that belong to one
// sequence, and the pages of keys and values of each span.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ops/backend.h"

namespace tinylora {

/// Built on the host, a span (run of tokens of one sequence) at a time.
struct Batch {
  std::vector<std::int32_t> tokens;    // [M]
  std::vector<std::int32_t> adapter;   // [M] slot of each row, -1 for the base model
  std::vector<std::int32_t> position;  // [M]
  std::vector<std::int32_t> slot;      // [M] that each row is stored in, the first of them
  std::vector<std::int32_t> store_row;
  std::vector<std::int32_t> store_slot;
  std::vector<std::int32_t> span_row;
  std::vector<std::int32_t> span_rows;
  std::vector<std::vector<std::int32_t>> span_pages;  // pages of the span's sequence from position 0

  int rows() const { return static_cast<int>(tokens.size()); }
};

/// Appends `tokens` of one sequence, at positions `first`, `first` + 1, ... `pages` are the sequence's from position 0.
/// When the span ends in the middle of a page, the rows of that page are also stored in each page of `copies`: the
/// first own pages of the sequences that continue this one.
void append_span(Batch& batch, std::span<const std::int32_t> tokens, int first, int slot,
                 const std::vector<std::int32_t>& pages, std::span<const std::int32_t> copies = {});

/// A batch on the backend: token, adapter and layout arrays, in one block of memory.
class DeviceBatch {
 public:
  DeviceBatch() = default;
  DeviceBatch(Backend& backend, const Batch& batch) { upload(backend, batch); }

  /// Replaces the batch, in the same memory when that is large enough. Two batches with the same numbers of rows,
  /// stores and spans and the same width of the page table then have their arrays at the same addresses. `least_pages`
  /// is the least width of the page table.
  void upload(Backend& backend, const Batch& batch, std::size_t least_pages = 0);
  const void* memory() const { return memory_.get(); }
  const SequenceLayout& layout() const { return layout_; }
  const std::int32_t* tokens() const { return tokens_; }
  const std::int32_t* adapter() const { return adapter_; }
  const std::int32_t* slot() const { return slot_; }

 private:
  std::shared_ptr<void> memory_;
  std::size_t bytes_ = 0;
  SequenceLayout layout_;
  const std::int32_t* tokens_ = nullptr;
  const std::int32_t* adapter_ = nullptr;
  const std::int32_t* slot_ = nullptr;
};

}  // namespace tinylora
