// How kernels that take whole rows are launched: a row a block, or a tile of rows (kernels/row_tile.cuh).
#pragma once

#include "cuda/kernels/low_rank.h"
#include "cuda/launch.h"

namespace tinylora::cuda {

/// Fewer rows would leave most multiprocessors without a tall block.
inline constexpr int kTallFrom = 32 * kTallRows;

/// The entry points of one kernel.
struct RowKernel {
  const char* file;
  const char* bf16;
  const char* f32;
  const char* tall_bf16;
  const char* tall_f32;
};

/// Which one runs does not change a bit.
template <typename Args>
void launch_rows(Device& device, const RowKernel& kernel, bool bf16, int rows, const Args& args) {
  const bool tall = rows >= kTallFrom;
  const char* name = tall ? (bf16 ? kernel.tall_bf16 : kernel.tall_f32) : (bf16 ? kernel.bf16 : kernel.f32);
  const Shape shape{.grid = {tall ? ceil_div(rows, kTallRows) : static_cast<unsigned>(rows)},
                    .block = static_cast<unsigned>(tall ? kTallThreads : kFlatThreads)};
  launch(device, kernel.file, name, shape, args);
}

}  // namespace tinylora::cuda
