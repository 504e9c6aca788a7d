// What host and kernels of wgmma_tiles.cuh agree on.
#pragma once

namespace tinylora::cuda {

inline constexpr int kSm90Depth = 64;  // k of a stage: 128 bytes, the widest swizzle

}  // namespace tinylora::cuda
