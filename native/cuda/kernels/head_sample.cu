// head_draw.cuh with the tile of few rows: no logits are kept, W is read once, by head_stats, and 128 rows of it per
// sampled row: for 64 rows and 151,936 tokens 5 % more bytes.
// sample_rows comes first, one block: what the sampled rows ask for, as the head's kernels take it.
#include "head.h"
#include "head_draw.cuh"
#include "head_tile.cuh"
#include "warp.cuh"

namespace tinylora::cuda {
namespace {

template <class Tile>
__device__ void head_sample(const HeadSampleTask& task) {
  extern __shared__ uint4 shared_tile[];
  head_sample(task, [&](int row, int token) {
    HeadProduct alone = task.product;  // the row alone has the bits it has among others
    alone.x = static_cast<const typename Tile::Act*>(alone.x) + static_cast<long long>(row) * alone.width;
    alone.rows = 1;
    Tile::logits(alone, 0, token, shared_tile);
    return reinterpret_cast<float*>(shared_tile);
  });
}

}  // namespace

extern "C" __global__ __launch_bounds__(kSampleRows) void sample_rows(SampleRowsTask task) {
  __shared__ int of_warp[kSampleRows / 32];
  const int row = static_cast<int>(threadIdx.x), lane = row % 32;
  const SampleRow how = row < task.rows ? task.how[row] : SampleRow{};
  const bool greedy = !(how.temperature > 0);
  const bool cut = !greedy && (how.top_k > 0 || how.top_p < 1 || how.min_p > 0);
  const unsigned ballot = __ballot_sync(kWholeWarp, cut);
  if (lane == 0) of_warp[row / 32] = __popc(static_cast<int>(ballot));
  __syncthreads();
  int place = __popc(static_cast<int>(ballot & ((1U << lane) - 1)));
  for (int warp = 0; warp < row / 32; ++warp) place += of_warp[warp];
  if (row >= task.rows) return;
  task.inv_temperature[row] = greedy ? 1.0F : 1 / how.temperature;
  task.kept[row] = cut ? place : -1;
}

extern "C" __global__ __launch_bounds__(128, 1) void head_sample_bf16(HeadSampleTask task) {
  head_sample<FewRows<__nv_bfloat16>>(task);
}
extern "C" __global__ __launch_bounds__(128, 1) void head_sample_f16(HeadSampleTask task) {
  head_sample<FewRows<__half>>(task);
}
extern "C" __global__ __launch_bounds__(256) void head_sample_f32(HeadSampleTask task) { head_sample<FloatTile>(task); }

}  // namespace tinylora::cuda
