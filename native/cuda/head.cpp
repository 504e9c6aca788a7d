// The head op: statistics of all chunks of the vocabulary, then of each row, some rows at a time.
#include "cuda/kernels/head.h"

#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/head_stats.h"
#include "cuda/launch.h"

namespace tinylora {

void CudaBackend::head(const HeadArgs& args) {
  const cuda::CudaWeight& weight = packed(args.weight, "head");
  const int chunks = cuda::vocab_chunks(weight.out);
  const std::size_t row_bytes = std::size_t(weight.in) * size_of(dtype_);
  const auto stats = device_->scratch(cuda::stats_bytes(std::min(args.rows, cuda::kHeadRows), chunks));
  for (int row = 0; row < args.rows; row += cuda::kHeadRows) {
    const int rows = std::min(cuda::kHeadRows, args.rows - row);
    cuda::HeadStatsTask task{};
    task.product = {static_cast<const std::byte*>(args.x) + std::size_t(row) * row_bytes,
                    weight.data(),
                    rows,
                    weight.in,
                    weight.stride,
                    weight.out};
    task.inv_temperature = args.inv_temperature + row;
    task.stats = static_cast<cuda::ChunkStats*>(stats.get());
    task.target = args.target + row;
    task.target_l = args.logp + row;
    cuda::launch_head_stats(*device_, dtype_, task);
    cuda::launch(*device_, "head", "head_total",
                 {.grid = {static_cast<unsigned>(rows)}, .block = static_cast<unsigned>(cuda::kTotalRuns)},
                 cuda::HeadTotalTask{task.stats, chunks, args.logp + row, args.entropy + row, args.lse + row});
  }
}

}  // namespace tinylora
