// The pass over the vocabulary that scoring and sampling share, with the tile that suits the number of rows: a row has
// the same bits in all of them.
#include "cuda/cuda_backend.h"
#include "cuda/head_sm90.h"
#include "cuda/kernels/head.h"
#include "cuda/kernels/product.h"
#include "cuda/launch.h"

namespace tinylora {

using namespace cuda;

bool CudaBackend::has_sm90_head() const { return half() && has_sm90_kernels(*device_); }

AlignedRows CudaBackend::aligned_rows(const HeadProduct& product) {
  ProductKernelArgs args{};
  set_product_input(args, product.x, product.rows, product.width);
  return {args.x, args.x_stride};
}

void CudaBackend::head_stats(const HeadStatsTask& task, int chunks) {
  const int rows = task.product.rows;
  if (has_sm90_head()) {
    const Sm90Kernel& kernel =
        least_copied(sm90_head_stats(dtype_), rows, device_->multiprocessors(),
                     [&](const Sm90Kernel& one) { return ceil_div(chunks * kVocabChunk, one.columns); });
    return run_sm90_head_stats(*device_, kernel, task, aligned_rows(task.product), chunks, dtype_);
  }
  const bool few = rows <= 4 * kFewRows.rows;  // up to here W is what takes the time, not its reuse
  const TileShape tile = !half() ? kFloatRows : few ? kFewRows : kManyRows;
  const char* kernel = few ? pick("head_stats_few_bf16", "head_stats_few_f16", "head_stats_f32")
                           : pick("head_stats_many_bf16", "head_stats_many_f16", "head_stats_f32");
  launch(*device_, "head", kernel,
         {.grid = {ceil_div(rows, tile.rows), static_cast<unsigned>(chunks)},
          .block = static_cast<unsigned>(tile.threads),
          .shared_bytes = tile.shared_bytes},
         task);
}

}  // namespace tinylora
