// One pass of the transformer over a packed batch, and the pass back. The transformer is written here once, over ops.h.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "engine/adapter.h"
#include "engine/batch.h"
#include "engine/model.h"

namespace tinylora {

/// Keys and values of all layers, in pages.
class KvCache {
 public:
  KvCache(const Model& model, int pages);
  KvPages layer(int index) const;
  int pages() const { return pages_; }
  static std::size_t bytes_per_page(const Model& model);

 private:
  const Model* model_;
  int pages_;
  std::shared_ptr<void> memory_;
};

/// A batch on the backend: token, adapter and layout arrays.
class DeviceBatch {
 public:
  DeviceBatch(Backend& backend, const Batch& batch);
  const SequenceLayout& layout() const { return layout_; }
  const std::int32_t* tokens() const;
  const std::int32_t* adapter() const;

 private:
  std::shared_ptr<void> memory_;
  SequenceLayout layout_;
  const std::int32_t* tokens_;
  const std::int32_t* adapter_;
};

/// What the pass back needs of each layer, and the scratch that all layers share. Reused while the row count fits.
struct Activations;
struct ActivationsDeleter {
  void operator()(Activations*) const;
};
using ActivationsPtr = std::unique_ptr<Activations, ActivationsDeleter>;
/// `keep`: room for every layer's activations; else one layer's. The table of sizes is in activations.cpp.
ActivationsPtr make_activations(const Model& model, const Adapters& adapters, int rows, bool keep);
std::size_t activation_bytes(const Model& model, const Adapters& adapters, int rows, bool keep);

/// Runs the layers; returns the residual stream after the last one, [M, C] float on the backend (owned by activations).
/// Throws ERR_ABORTED between layers once `abort` is set.
const float* run_layers(const Model& model, const Adapters& adapters, const DeviceBatch& batch, const KvCache& cache,
                        Activations& activations, const std::atomic<bool>& abort);

/// The way back from d_x [M, C] (gradient of the residual stream after the last layer; overwritten) to the adapters' dR.
/// `activations` must hold a kept pass over the same batch and cache.
void run_layers_backward(const Model& model, Adapters& adapters, const DeviceBatch& batch, const KvCache& cache,
                         Activations& activations, float* d_x, const std::atomic<bool>& abort);

}  // namespace tinylora
