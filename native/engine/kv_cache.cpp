#include "engine/kv_cache.h"

namespace tinylora {
namespace {

/// Keys, or values, of one page of one layer: [K, kPageSize, D].
std::size_t half_page_bytes(const Model& model) {
  return static_cast<std::size_t>(model.config.kv_heads) * kPageSize * static_cast<std::size_t>(model.config.head_dim) *
         size_of(model.backend->dtype());
}

}  // namespace

KvCache::KvCache(const Model& model, int pages, bool every_layer)
    : pages_(pages),
      every_layer_(every_layer),
      half_layer_(half_page_bytes(model) * static_cast<std::size_t>(pages)),
      bytes_(half_layer_ * 2 * static_cast<std::size_t>(every_layer ? model.config.layers : 1)),
      memory_(model.backend->allocate(bytes_)) {}

KvPages KvCache::layer(int index) const {
  const auto place = static_cast<std::size_t>(every_layer_ ? index : 0);
  std::byte* keys = static_cast<std::byte*>(memory_.get()) + half_layer_ * 2 * place;
  return {.pages = pages_, .keys = keys, .values = keys + half_layer_};
}

}  // namespace tinylora
