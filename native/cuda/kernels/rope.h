// Arguments of rope.cu and rope_backward.cu. The layout is passed by value: the pointer inside the op's own arguments
// is a host pointer.
#pragma once

#include "low_rank.h"
#include "ops/attention.h"

namespace tinylora::cuda {

struct RopeStoreTask {
  SequenceLayout layout;
  RopeStoreArgs args;
};

struct RopeStoreBackwardTask {
  SequenceLayout layout;
  RopeStoreBackwardArgs args;
  LowRankArgs of_q, of_k, of_v;  // of dq, dk and dv
};

inline constexpr int kRopeWarps = 8;  // heads a block works on at once, one a warp

}  // namespace tinylora::cuda
