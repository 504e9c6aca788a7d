// Every buffer of the passes forward and back, planned and allocated before them: none is allocated inside.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/adapter.h"
#include "engine/arena.h"

namespace tinylora {

/// What a layer leaves for the way back. Layers that need nothing kept share one set, and x, x_mid and the next layer's
/// x are then the same buffer.
struct LayerActivations {
  float* x;                            // [M, C] residual before the input norm
  float* inv_rms;                      // [M]
  float* q_raw;                        // [M, H, D] before norm and rotation: kept with head norms only
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

/// Of one layer at a time.
struct ForwardScratch {
  void* normed;  // [M, C] act
  float* v_raw;  // [M, K, D]
  void* h;       // [M, F] act
};

struct BackwardScratch {
  void* dy;       // [M, C] act
  void* normed;   // [M, C] act, made again for the gradients of weights
  float* d_norm;  // [M, C]
  // The MLP and attention are never on their way back together: these two groups share their memory.
  float* dh;        // [M, F]
  void* h;          // [M, F] act, made again for the gradients of weights
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
  int pages = 0;          // of the cache, at most; 0: no way back
  int basis_version = 0;  // of the adapters that a kept pass was sized for
  int first_kept = 0;     // layers below need no gradient: nothing of them is kept
  std::vector<LayerActivations> layers;
  float* x_last = nullptr;  // [M, C] after the last layer
  ForwardScratch forward{};
  BackwardScratch backward{};
  std::size_t bytes = 0;
  std::shared_ptr<void> memory;
};

}  // namespace tinylora
