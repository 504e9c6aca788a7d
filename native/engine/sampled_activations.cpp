#include "engine/sampled_activations.h"

#include <array>
#include <span>

#include "engine/layer_arrays.h"

namespace tinylora {
namespace {

/// In a record, in which every array begins at a multiple of 64 bytes.
std::size_t padded(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

const std::int32_t* ints(const std::shared_ptr<void>& memory) { return static_cast<const std::int32_t*>(memory.get()); }

}  // namespace

SampledActivations::SampledActivations(const Model& model, const Adapters& adapters, int pages,
                                       bool gradient_checkpointing)
    : model_(model),
      rank_(adapters.rank()),
      basis_version_(adapters.basis_version()),
      gradient_checkpointing_(gradient_checkpointing),
      empty_slot_(pages * kPageSize) {
  LayerActivations none{};
  for_kept_arrays(none, model, rank_, gradient_checkpointing,
                  [&](auto*, std::size_t row_bytes) { layer_bytes_ += padded(row_bytes); });
  record_bytes_ = layer_bytes_ * static_cast<std::size_t>(model.config.layers) + padded(RowBytes(model).hidden);
  bytes_ = record_bytes_ * (static_cast<std::size_t>(empty_slot_) + 1);
  memory_ = model.backend->allocate(bytes_);
}

void SampledActivations::keep_layer(const DeviceBatch& batch, const Activations& pass, int layer) const {
  keep(batch, arrays(pass, layer, Way::keep));
}

void SampledActivations::keep_last(const DeviceBatch& batch, const Activations& pass) const {
  keep(batch, {last(pass, Way::keep)});
}

void SampledActivations::bring_back_layer(const std::int32_t* slots, int rows, const Activations& pass,
                                          int layer) const {
  bring_back(slots, rows, arrays(pass, layer, Way::bring_back));
}

void SampledActivations::bring_back_last(const std::int32_t* slots, int rows, const Activations& pass) const {
  bring_back(slots, rows, {last(pass, Way::bring_back)});
}

void SampledActivations::keep(const DeviceBatch& batch, const std::vector<CopyRowsArgs::Array>& arrays) const {
  model_.backend->copy_rows(
      {.count = batch.layout().rows, .from_rows = nullptr, .to_rows = batch.slot(), .arrays = arrays});
}

void SampledActivations::bring_back(const std::int32_t* slots, int rows,
                                    const std::vector<CopyRowsArgs::Array>& arrays) const {
  model_.backend->copy_rows({.count = rows, .from_rows = slots, .to_rows = nullptr, .arrays = arrays});
}

std::vector<CopyRowsArgs::Array> SampledActivations::arrays(const Activations& pass, int layer, Way way) const {
  std::vector<CopyRowsArgs::Array> result;
  std::size_t offset = layer_bytes_ * static_cast<std::size_t>(layer);
  LayerActivations of_pass = pass.layers[static_cast<std::size_t>(layer)];
  for_kept_arrays(of_pass, model_, rank_, gradient_checkpointing_, [&](void* rows, std::size_t row_bytes) {
    result.push_back(array(rows, row_bytes, offset, way));
    offset += padded(row_bytes);
  });
  return result;
}

CopyRowsArgs::Array SampledActivations::last(const Activations& pass, Way way) const {
  const std::size_t offset = layer_bytes_ * static_cast<std::size_t>(model_.config.layers);
  return array(pass.x_last, RowBytes(model_).hidden, offset, way);
}

CopyRowsArgs::Array SampledActivations::array(void* of_pass, std::size_t row_bytes, std::size_t offset, Way way) const {
  void* kept = static_cast<std::byte*>(memory_.get()) + offset;
  if (way == Way::keep) return {of_pass, kept, row_bytes, row_bytes, record_bytes_};
  return {kept, of_pass, row_bytes, record_bytes_, row_bytes};
}

SampledRows::SampledRows(Backend& backend, std::shared_ptr<const SampledActivations> activations, const KvCache& cache,
                         const SampledPlaces& places)
    : backend_(backend),
      sampled_(std::move(activations)),
      cache_(cache),
      rows_(static_cast<int>(places.slots.size())),
      pages_(static_cast<int>(places.from_pages.size())),
      slots_(uploaded(backend, places.slots)),
      from_pages_(uploaded(backend, places.from_pages)),
      to_pages_(uploaded(backend, places.to_pages)) {}

const float* SampledRows::last(Activations& activations) const {
  sampled_->bring_back_last(ints(slots_), rows_, activations);
  return activations.x_last;
}

void SampledRows::bring_back(int layer, Activations& activations, const KvCache& cache) const {
  sampled_->bring_back_layer(ints(slots_), rows_, activations, layer);
  if (sampled_->gradient_checkpointing()) return;  // keys and values are computed again, too
  const KvPages from = cache_.layer(layer), to = cache.layer(layer);
  const std::size_t half = cache_.half_page();
  const std::array<CopyRowsArgs::Array, 2> halves{CopyRowsArgs::Array{from.keys, to.keys, half, half, half},
                                                  CopyRowsArgs::Array{from.values, to.values, half, half, half}};
  backend_.copy_rows({.count = pages_, .from_rows = ints(from_pages_), .to_rows = ints(to_pages_), .arrays = halves});
}

}  // namespace tinylora
