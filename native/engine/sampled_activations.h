// Sampling is a forward pass: what the layers compute of a token has the bits that a training pass over the same text
// would give it (row invariance, ops/ops.h). So it may be kept, and the training pass begin with its backward pass.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/activations.h"
#include "engine/batch.h"
#include "engine/kv_cache.h"
#include "engine/model.h"

namespace tinylora {

/// What the layers left of every position of the sampler's cache.
class SampledActivations {
 public:
  /// For a cache of `pages` pages; of a layer what for_kept_arrays names. Takes its memory at once, which costs none on
  /// the CPU until it is written to.
  SampledActivations(const Model& model, const Adapters& adapters, int pages, bool gradient_checkpointing);

  /// Whether it is of the present basis of the adapters.
  bool of_basis(const Adapters& adapters) const { return basis_version_ == adapters.basis_version(); }
  bool gradient_checkpointing() const { return gradient_checkpointing_; }
  /// A slot that no position has: its rows are zeros.
  std::int32_t empty_slot() const { return empty_slot_; }
  std::size_t bytes() const { return bytes_; }

  /// Keeps the rows of a pass, each in the first slot that the batch stores it in.
  void keep_layer(const DeviceBatch& batch, const Activations& pass, int layer) const;
  void keep_last(const DeviceBatch& batch, const Activations& pass) const;
  /// The other way: row i of `pass` becomes that of slots[i].
  void bring_back_layer(const std::int32_t* slots, int rows, const Activations& pass, int layer) const;
  void bring_back_last(const std::int32_t* slots, int rows, const Activations& pass) const;

 private:
  enum class Way { keep, bring_back };
  void keep(const DeviceBatch& batch, const std::vector<CopyRowsArgs::Array>& arrays) const;
  void bring_back(const std::int32_t* slots, int rows, const std::vector<CopyRowsArgs::Array>& arrays) const;
  /// What is kept of a layer, between `pass` and the records.
  std::vector<CopyRowsArgs::Array> arrays(const Activations& pass, int layer, Way way) const;
  CopyRowsArgs::Array last(const Activations& pass, Way way) const;
  CopyRowsArgs::Array array(void* of_pass, std::size_t row_bytes, std::size_t offset, Way way) const;

  const Model& model_;
  int rank_;
  int basis_version_;
  bool gradient_checkpointing_;
  std::int32_t empty_slot_;
  std::size_t layer_bytes_ = 0;  // of a record
  std::size_t record_bytes_;
  std::size_t bytes_;
  // A record for each slot, with all layers and the stream after them: so memory of the system that is given in large
  // pieces, where it is touched, is taken for what is filled alone.
  std::shared_ptr<void> memory_;
};

/// Where the rows and pages of a batch to train on lie in the sampler's memory.
struct SampledPlaces {
  std::vector<std::int32_t> slots;       // [rows]
  std::vector<std::int32_t> from_pages;  // [n] of the sampler's cache
  std::vector<std::int32_t> to_pages;    // [n] of the batch's
};

/// A batch that was sampled, in place of its forward pass.
class SampledRows {
 public:
  /// `activations` and `cache` are the sampler's.
  SampledRows(Backend& backend, std::shared_ptr<const SampledActivations> activations, const KvCache& cache,
              const SampledPlaces& places);

  /// The residual stream after the last layer, [rows, C].
  const float* last(Activations& activations) const;
  /// What the layer's forward pass would have left in `activations` and `cache`; with gradient checkpointing, what
  /// run_layer_again needs for it.
  void bring_back(int layer, Activations& activations, const KvCache& cache) const;

 private:
  Backend& backend_;
  std::shared_ptr<const SampledActivations> sampled_;
  const KvCache& cache_;
  int rows_, pages_;
  std::shared_ptr<void> slots_, from_pages_, to_pages_;
};

}  // namespace tinylora
