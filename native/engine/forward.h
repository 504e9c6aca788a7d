// One pass of the transformer over a packed batch, and the pass back. The transformer is written once, over ops.h:
// forward.cpp and backward.cpp.
#pragma once

#include <atomic>
#include <memory>

#include "engine/adapter.h"
#include "engine/batch.h"
#include "engine/gradients.h"
#include "engine/model.h"
#include "engine/part_gradients.h"

namespace tinylora {

/// Keys and values in pages. `every_layer`: else the layers take turns in the memory of one, for a pass that neither a
/// later token nor the way back follows.
class KvCache {
 public:
  KvCache(const Model& model, int pages, bool every_layer = true);
  KvPages layer(int index) const;
  int pages() const { return pages_; }
  std::size_t bytes() const { return bytes_; }
  /// Of every layer.
  static std::size_t bytes_per_page(const Model& model);

 private:
  int pages_;
  bool every_layer_;
  std::size_t half_layer_;  // bytes of the keys, or of the values, of one layer
  std::size_t bytes_;
  std::shared_ptr<void> memory_;
};

/// What the pass back needs of each layer, and the scratch that all layers share (activations.h). Reused for any batch
/// of at most `rows` rows.
struct Activations;
struct ActivationsDeleter {
  void operator()(Activations*) const;
};
using ActivationsPtr = std::unique_ptr<Activations, ActivationsDeleter>;
/// `kept_pages`: pages of the cache that a kept pass uses at most; 0 has room for one layer at a time and no way back.
/// With room for the way back they fit the adapters' present basis only, and gradients down to `first_module`.
ActivationsPtr make_activations(const Model& model, const Adapters& adapters, int rows, int kept_pages,
                                int first_module = 0);

/// Runs the layers; returns the residual stream after the last one, [M, C] float on the backend (owned by activations).
/// Throws ERR_ABORTED between layers once `abort` is set.
const float* run_layers(const Model& model, const Adapters& adapters, const DeviceBatch& batch, const KvCache& cache,
                        Activations& activations, const std::atomic<bool>& abort);

/// The way back from d_x [M, C] (gradient of the residual stream after the last layer; overwritten) to the adapters'
/// dR, to that of `parts` where there are some, and to the weights in `gradient`. `activations` must hold a kept pass
/// over the same batch and cache.
void run_layers_backward(const Model& model, Adapters& adapters, const ModelGradient& gradient,
                         const PartGradients* parts, const DeviceBatch& batch, const KvCache& cache,
                         Activations& activations, float* d_x, const std::atomic<bool>& abort);

}  // namespace tinylora
