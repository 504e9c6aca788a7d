// Arguments of kernels/lora_gradient.cu.
#pragma once

#include <stdint.h>

namespace tinylora::cuda {

inline constexpr int kLoraRun = 256;  // rows whose sum one block makes
inline constexpr int kLoraThreads = 128;
inline constexpr int kLoraColumns = 2 * kLoraThreads;  // a block

/// left [M, rank] = inner R_k^T; zeros where the row has no adapter.
struct TurnKernelArgs {
  const float* inner;      // [M, rank]
  const float* r;          // [adapters, rank, rank]
  const int32_t* adapter;  // [M]
  float* left;             // [M, rank]
  int rows;
  int rank;
};

/// d [rank, width] += left^T x.
struct LoraGradientKernelArgs {
  const void* x;      // [M, width] act
  const float* left;  // [M, rank]
  float* runs;        // [ceil(M / kLoraRun), rank, width]
  float* d;
  int rows;
  int width;
  int rank;
  int pairs;  // width is even and x is aligned for two neighbours at once
};

}  // namespace tinylora::cuda
