// A CUtensorMap: how a tile copy (TMA) finds its box in global memory, written by cuTensorMapEncodeTiled. It lies on 64
// bytes up to CUDA 12, on 128 from CUDA 13 on.
#pragma once

#include <stdint.h>

namespace tinylora::cuda {

struct alignas(128) TensorMap {
  uint64_t opaque[16];
};

}  // namespace tinylora::cuda
