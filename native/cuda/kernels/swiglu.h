// Arguments of swiglu.cu and swiglu_backward.cu; the width of a row is low_rank.k.
#pragma once

#include "low_rank.h"

namespace tinylora::cuda {

struct SwigluKernelArgs {
  const void* gate;      // [M, F] act
  const void* up;        // [M, F] act
  void* h;               // [M, F] act
  LowRankArgs low_rank;  // of h
};

struct SwigluBackwardKernelArgs {
  const void* gate;      // [M, F] act
  const void* up;        // [M, F] act
  const float* dh;       // [M, F]
  void* d_gate;          // [M, F] act
  void* d_up;            // [M, F] act
  LowRankArgs low_rank;  // no tasks, or one of d_gate and one of d_up, a rank of 0 where there is no update
};

}  // namespace tinylora::cuda
