// A CUtensorMap: how a tile copy (TMA) finds its box in global memory, written by cuTensorMapEncodeTiled.
#pragma once

#include <stdint.h>

namespace tinylora::cuda {

struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

}  // namespace tinylora::cuda
