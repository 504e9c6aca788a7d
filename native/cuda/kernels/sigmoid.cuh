// sigma(x) = 1 / (1 + exp(-x))
#pragma once

namespace tinylora::cuda {

__device__ inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }

}  // namespace tinylora::cuda
