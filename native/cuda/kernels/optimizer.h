// Arguments of kernels/optimizer.cu; adamw and sgd take the op's own.
#pragma once

#include "ops/training.h"

namespace tinylora::cuda {

inline constexpr int kSquaresChunk = 4096;  // numbers summed in order by one thread
inline constexpr int kSquaresThreads = 32;  // chunks a block
inline constexpr int kChunksThreads = 256;

struct SquaresKernelArgs {
  const float* x;
  std::int64_t count;
  double* chunks;  // [ceil(count / kSquaresChunk)]
  double* sum;     // [1]
};

/// Rows of the master, rounded to act: packed [out, stride], the padding untouched.
struct RepackKernelArgs {
  const float* values;  // [out, in]
  void* packed;
  int out;
  int in;
  int stride;
};

}  // namespace tinylora::cuda
