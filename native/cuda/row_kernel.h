// How kernels that take whole rows are launched: a row a block, or a tile of rows (kernels/row_tile.cuh).
#pragma once

#include "core/dtype.h"
#include "cuda/kernels/low_rank.h"
#include "cuda/launch.h"

namespace tinylora::cuda {

/// Fewer rows would leave most multiprocessors without a tall block.
inline constexpr int kTallFrom = 32 * kTallRows;

/// The entry points of one kernel. Those of tiles are for 16-bit types alone: the fp32 engine is for comparing.
struct RowKernel {
  const char* file;
  const char* f32;
  struct {
    const char* flat;
    const char* tall;
  } bf16, f16;
};

/// `tasks`: blocks that share a tile. Which entry point runs does not change a bit.
template <typename Args>
void launch_rows(Device& device, const RowKernel& kernel, DType dtype, int rows, const Args& args, int tasks = 1) {
  const bool tall = dtype != DType::f32 && rows >= kTallFrom;
  const auto& half = dtype == DType::bf16 ? kernel.bf16 : kernel.f16;
  const Shape shape{
      .grid = {tall ? ceil_div(rows, kTallRows) : static_cast<unsigned>(rows), static_cast<unsigned>(tasks)},
      .block = static_cast<unsigned>(tall ? kTallThreads : kFlatThreads)};
  launch(device, kernel.file, dtype == DType::f32 ? kernel.f32 : tall ? half.tall : half.flat, shape, args);
}

}  // namespace tinylora::cuda
