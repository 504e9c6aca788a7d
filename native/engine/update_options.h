// One update of the weights that are trained.
#pragma once

#include <cstdint>

namespace tinylora {

struct UpdateOptions {  // lib/native/addon.ts
  bool adamw = true;    // else sgd
  double rate = 0;
  double decay = 0;     // of matrices: norm gains and biases keep their size
  double max_norm = 0;  // the gradient is scaled down to it; 0: never
  double momentum = 0;
  double beta1 = 0, beta2 = 0, epsilon = 0;
  std::int64_t updates = 1;  // number of this update, from 1
};

/// The optimisers compute in float: ERR_ARGUMENT for a number with which a step would leave NaN or infinity in the
/// weights.
void check_update_options(const UpdateOptions& options);

}  // namespace tinylora
