// The machine code and PTX of every kernel file, embedded in the library by the build (cmake/cuda.cmake writes the
// table). Empty where the build had no nvcc.
#pragma once

#include <cstddef>
#include <span>

namespace tinylora::cuda {

struct Image {
  const char* file;          // "norm": native/cuda/kernels/norm.cu
  const char* architecture;  // "sm_80", "sm_90a", "sm_100": machine code, as a compressed fat binary; "compute_80",
                             // "compute_90", "compute_90a": PTX with a zero byte at its end
  bool starts_early;         // its kernels may begin before the launch before them is done (kernels/early_start.cuh)
  const void* data;
  std::size_t bytes;
};

std::span<const Image> images();

/// The driver that the images need, as cuDriverGetVersion counts (13000: CUDA 13.0); 0 where there are none.
int oldest_driver();

}  // namespace tinylora::cuda
