// The memory of keys and values, in pages (ops/attention.h).
#pragma once

#include <cstddef>
#include <memory>

#include "engine/model.h"
#include "ops/attention.h"

namespace tinylora {

/// Keys and values in pages. Without `every_layer` all layers use the memory of one in turn: enough for a pass that no
/// backward pass and no later token follows.
class KvCache {
 public:
  KvCache(const Model& model, int pages, bool every_layer = true);
  KvPages layer(int index) const;
  int pages() const { return pages_; }
  std::size_t bytes() const { return bytes_; }
  /// Bytes of the keys, or of the values, of one page of one layer.
  std::size_t half_page() const { return half_layer_ / static_cast<std::size_t>(pages_); }

 private:
  int pages_;
  bool every_layer_;
  std::size_t half_layer_;  // bytes of the keys, or of the values, of one layer
  std::size_t bytes_;
  std::shared_ptr<void> memory_;
};

}  // namespace tinylora
