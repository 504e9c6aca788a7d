// The forward and the backward pass of the transformer over a packed batch. They are written once, over the operations
// of ops.h, for all backends: forward.cpp and backward.cpp.
#pragma once

#include <atomic>
#include <memory>

#include "engine/adapter.h"
#include "engine/batch.h"
#include "engine/gradients.h"
#include "engine/kv_cache.h"
#include "engine/model.h"
#include "engine/part_gradients.h"

namespace tinylora {

/// What the backward pass needs of each layer, and the scratch memory that all layers share (activations.h). Reused for
/// any batch of at most `rows` rows.
struct Activations;
struct ActivationsDeleter {
  void operator()(Activations*) const;
};
using ActivationsPtr = std::unique_ptr<Activations, ActivationsDeleter>;
/// `kept_pages`: most pages of the cache that a pass with a backward pass after it uses. With 0 there is room for one
/// layer at a time and no backward pass. Otherwise the buffers fit the present basis of the adapters only, and
/// gradients from the last module back to `first_module` (ModelGradient::first_module).
ActivationsPtr make_activations(const Model& model, const Adapters& adapters, int rows, int kept_pages,
                                int first_module = 0);

/// Runs the layers; returns the residual stream after the last one, [M, C] float on the backend (owned by activations).
/// Throws ERR_ABORTED between layers once `abort` is set.
const float* run_layers(const Model& model, const Adapters& adapters, const DeviceBatch& batch, const KvCache& cache,
                        Activations& activations, const std::atomic<bool>& abort);

/// The backward pass, from d_x [M, C] (gradient of the residual stream after the last layer; overwritten) to the
/// adapters' dR, to dR of each part where `parts` is not null, and to the weights in `gradient`. `activations` must
/// hold the forward pass over the same batch and cache.
void run_layers_backward(const Model& model, Adapters& adapters, const ModelGradient& gradient,
                         const PartGradients* parts, const DeviceBatch& batch, const KvCache& cache,
                         Activations& activations, float* d_x, const std::atomic<bool>& abort);

}  // namespace tinylora
