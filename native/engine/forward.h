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
class SampledActivations;
class SampledRows;

/// Room for one layer at a time, and no backward pass. `sampled`: so that SampledActivations can keep its rows.
ActivationsPtr make_activations(const Model& model, const Adapters& adapters, int rows, bool sampled = false);

/// What a forward pass with a backward pass after it keeps. It fits the present basis of the adapters only.
struct Keeping {
  int pages;                    // of the cache, at most
  int first_module;             // gradients are made from the last module back to it (ModelGradient)
  bool gradient_checkpointing;  // of a layer its input and z only: the backward pass computes the rest again
  bool sampled = false;         // nothing: SampledRows bring it back, a layer at a time
};
ActivationsPtr make_activations(const Model& model, const Adapters& adapters, int rows, const Keeping& keeping);

/// Runs the layers; returns the residual stream after the last one, [M, C] float on the backend (owned by activations).
/// Throws ERR_ABORTED between layers once `abort` is set. `keep`: what is to keep the batch's rows, or none.
const float* run_layers(const Model& model, const Adapters& adapters, const DeviceBatch& batch, const KvCache& cache,
                        Activations& activations, const std::atomic<bool>& abort,
                        const SampledActivations* keep = nullptr);

/// Computes again what run_layers left of this layer, from its input and to the same bits: all but its output, and z of
/// down_proj, which are not made without it.
void run_layer_again(const Model& model, const Adapters& adapters, const DeviceBatch& batch, const KvCache& cache,
                     Activations& activations, int layer);

/// The backward pass, from d_x [M, C] (gradient of the residual stream after the last layer; overwritten) to the
/// adapters' dR, to dR of each part where `parts` is not null, and to the weights in `gradient`. `activations` must
/// hold the forward pass over the same batch and cache, or `sampled` bring it back.
void run_layers_backward(const Model& model, Adapters& adapters, const ModelGradient& gradient,
                         const PartGradients* parts, const DeviceBatch& batch, const KvCache& cache,
                         Activations& activations, const SampledRows* sampled, float* d_x,
                         const std::atomic<bool>& abort);

}  // namespace tinylora
