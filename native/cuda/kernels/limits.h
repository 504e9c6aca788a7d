// Sizes of kernels/limits.cu.
#pragma once

namespace tinylora::cuda {

inline constexpr int kLimitBlocks = 4;     // of a multiprocessor
inline constexpr int kLimitThreads = 256;  // of a block
inline constexpr int kLimitMmas = 8;       // of a warp and round
inline constexpr int kLimitFmas = 64;      // of a thread and round

}  // namespace tinylora::cuda
