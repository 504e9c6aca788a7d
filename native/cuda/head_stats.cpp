#include "cuda/head_stats.h"

#include "cuda/launch.h"

namespace tinylora::cuda {

void launch_head_stats(Device& device, DType dtype, const HeadStatsTask& task, int chunks) {
  const bool few = task.product.rows <= 4 * kFewRows.rows;  // up to here W is what takes the time, not its reuse
  const TileShape tile = dtype == DType::f32 ? kFloatRows : few ? kFewRows : kManyRows;
  const char* kernel = dtype == DType::f32    ? "head_stats_f32"
                       : dtype == DType::bf16 ? few ? "head_stats_few_bf16" : "head_stats_many_bf16"
                       : few                  ? "head_stats_few_f16"
                                              : "head_stats_many_f16";
  launch(device, "head", kernel,
         {.grid = {ceil_div(task.product.rows, tile.rows), static_cast<unsigned>(chunks)},
          .block = static_cast<unsigned>(tile.threads),
          .shared_bytes = tile.shared_bytes},
         task);
}

}  // namespace tinylora::cuda
