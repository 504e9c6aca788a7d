// Arguments of kernels/norm.cu.
#pragma once

namespace tinylora::cuda {

inline constexpr int kNormThreads = 256;

struct RmsNormKernelArgs {
  const float* x;     // [M, width]
  const float* gain;  // [width]
  void* y;            // [M, width] act
  float* inv_rms;     // [M]
  float epsilon;
  int width;
};

struct RmsNormBackwardKernelArgs {
  const float* x;        // [M, width]
  const float* gain;     // [width]
  const float* inv_rms;  // [M]
  const float* dy;       // [M, width]
  float* dx;             // [M, width] +=
  int width;
};

}  // namespace tinylora::cuda
