// Every buffer of the forward and the backward pass, laid out and allocated before they run: they allocate nothing.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/adapter.h"
#include "engine/arena.h"

namespace tinylora {

/// What the forward pass of a layer leaves for the backward pass. Layers of which nothing needs to be kept share one
/// set; then x, x_mid and the next layer's x are the same buffer. With gradient checkpointing each layer has an x and
/// z of its own and shares the rest, which the backward pass computes again. layer_arrays.h lists them.
struct LayerActivations {
  float* x;                            // [M, C] residual before the input norm
  float* inv_rms;                      // [M]
  float* q_raw;                        // [M, H, D] before norm and rotation: kept only where heads have norms
  float* k_raw;                        // [M, K, D]
  void* q;                             // [M, H, D] act
  void* attention;                     // [M, H, D] act
  float* lse;                          // [M, H]
  float* x_mid;                        // [M, C] residual before the second norm
  float* mid_inv_rms;                  // [M]
  void* gate;                          // [M, F] act
  void* up;                            // [M, F] act
  std::array<float*, module_types> z;  // [M, r]
};

/// What the forward pass of a layer needs only while it runs; all layers share it.
struct ForwardScratch {
  void* normed;  // [M, C] act
  float* v_raw;  // [M, K, D]
  void* h;       // [M, F] act
};

/// The same of the backward pass.
struct BackwardScratch {
  void* dy;       // [M, C] act
  void* normed;   // [M, C] act, computed again for the gradients of weights
  float* d_norm;  // [M, C]
  // dh to d_up belong to the MLP, the rest to attention. One runs after the other, so the two groups share memory.
  float* dh;        // [M, F]
  void* h;          // [M, F] act, computed again for the gradients of weights
  void* d_gate;     // [M, F] act
  void* d_up;       // [M, F] act
  float* d_out;     // [M, H, D]
  float* dq_out;    // [M, H, D]
  float* d_keys;    // [pages * kPageSize, K, D]
  float* d_values;  // [pages * kPageSize, K, D]
  void* dq;         // [M, H, D] act
  void* dk;         // [M, K, D] act
  void* dv;         // [M, K, D] act
};

struct Activations {
  int rows = 0;           // M at most
  int pages = 0;          // of the cache, at most; 0: there is no room for a backward pass
  int basis_version = 0;  // of the adapters whose rank the kept z have
  int first_kept = 0;     // nothing is kept of the layers before this one: they need no gradient
  bool gradient_checkpointing = false;
  bool sampled = false;  // layers share one set, but x, x_mid and the next x are apart (sampled_activations.h)
  std::vector<LayerActivations> layers;
  float* x_last = nullptr;  // [M, C] after the last layer
  ForwardScratch forward{};
  BackwardScratch backward{};
  std::size_t bytes = 0;
  std::shared_ptr<void> memory;
};

}  // namespace tinylora
