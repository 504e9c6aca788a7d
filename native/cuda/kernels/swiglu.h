// Arguments of kernels/swiglu.cu.
#pragma once

#include <stdint.h>

namespace tinylora::cuda {

struct SwigluKernelArgs {
  const void* gate;  // [count] act
  const void* up;    // [count] act
  void* h;           // [count] act
  int64_t count;
  int vector;  // all three start at a multiple of 16 bytes
};

struct SwigluBackwardKernelArgs {
  const void* gate;  // [count] act
  const void* up;    // [count] act
  const float* dh;   // [count]
  void* d_gate;      // [count] act
  void* d_up;        // [count] act
  int64_t count;
  int vector;
};

}  // namespace tinylora::cuda
