// How kernels that take whole rows are launched: a row a block, or a tile of rows (kernels/row_tile.cuh).
#pragma once

#include "cuda/kernels/low_rank.h"
#include "cuda/launch.h"

namespace tinylora::cuda {

/// Fewer rows would leave most multiprocessors without a tall block.
inline constexpr int kTallFrom = 32 * kTallRows;

/// The entry points of one kernel. That of tiles is for bf16 alone: the fp32 engine is for comparing.
struct RowKernel {
  const char* file;
  const char* bf16;
  const char* f32;
  const char* tall_bf16;
};

/// `tasks`: blocks that share a tile. Which entry point runs does not change a bit.
template <typename Args>
void launch_rows(Device& device, const RowKernel& kernel, bool bf16, int rows, const Args& args, int tasks = 1) {
  const bool tall = bf16 && rows >= kTallFrom;
  const Shape shape{
      .grid = {tall ? ceil_div(rows, kTallRows) : static_cast<unsigned>(rows), static_cast<unsigned>(tasks)},
      .block = static_cast<unsigned>(tall ? kTallThreads : kFlatThreads)};
  launch(device, kernel.file, tall ? kernel.tall_bf16 : bf16 ? kernel.bf16 : kernel.f32, shape, args);
}

}  // namespace tinylora::cuda
