// Arguments of rope.cu. The layout is passed by value: the pointer inside the op's own arguments is one of the host.
#pragma once

#include "ops/ops.h"

namespace tinylora::cuda {

struct RopeStoreTask {
  SequenceLayout layout;
  RopeStoreArgs args;
};

struct RopeStoreBackwardTask {
  SequenceLayout layout;
  RopeStoreBackwardArgs args;
};

inline constexpr int kRopeWarps = 8;  // heads a block, one a warp

}  // namespace tinylora::cuda
