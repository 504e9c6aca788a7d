// d_gain += sum over heads of dy * x * inv_rms, dy turned back by its position: the gains of the query and key norms.
//
// head_gain_runs  a block a run of 64 rows (or stores); warp w of 8 takes the run's heads w, w + 8, ..., a lane the
//                 pairs (i, i + D/2) that are 32 apart; sums in double, the warps added in order: runs [runs, D].
// head_gain_sum   one block: each element's runs in order, on top of d_gain.
// The order depends on the number of rows alone. Bytes: x and dy once; limit: memory.
#include "gain_gradient.h"
#include "warp.cuh"

namespace tinylora::cuda {

extern "C" __global__ __launch_bounds__(kHeadGainWarps * 32) void head_gain_runs(HeadGainTask task) {
  constexpr int kPairs = 4;  // D is at most 256
  __shared__ double sums[kHeadGainWarps][2 * kPairs * 32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int dim = task.head_dim, half = dim / 2;
  const int first = static_cast<int>(blockIdx.x) * kHeadGainRun;
  const int heads = min(kHeadGainRun, task.count - first) * task.heads;
  double low[kPairs] = {}, high[kPairs] = {};
  for (int index = warp; index < heads; index += kHeadGainWarps) {
    const int item = first + index / task.heads, head = index % task.heads;
    const int row = task.item_row != nullptr ? task.item_row[item] : item;
    const int slot = task.item_slot != nullptr ? task.item_slot[item] : row;
    const float* x = task.x + (static_cast<long long>(row) * task.heads + head) * dim;
    const float* dy = task.dy + (static_cast<long long>(slot) * task.heads + head) * dim;
    const long long angle = static_cast<long long>(task.position[row]) * half;
    float squares = 0;
    for (int i = lane; i < dim; i += 32) squares = fmaf(x[i], x[i], squares);
    const float inv = 1.0F / sqrtf(warp_sum(squares) / static_cast<float>(dim) + task.epsilon);
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const int i = lane + 32 * j;
      if (i >= half) continue;
      const float a = dy[i], b = dy[i + half], c = task.cos[angle + i], s = task.sin[angle + i];
      low[j] += static_cast<double>(a * c + b * s) * static_cast<double>(x[i] * inv);
      high[j] += static_cast<double>(b * c - a * s) * static_cast<double>(x[i + half] * inv);
    }
  }
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int i = lane + 32 * j;
    if (i >= half) continue;
    sums[warp][i] = low[j];
    sums[warp][i + half] = high[j];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < dim; i += kHeadGainWarps * 32) {
    double total = 0;
    for (int w = 0; w < kHeadGainWarps; ++w) total += sums[w][i];
    task.runs[static_cast<long long>(blockIdx.x) * dim + i] = total;
  }
}

extern "C" __global__ __launch_bounds__(256) void head_gain_sum(HeadGainTask task) {
  const int i = static_cast<int>(threadIdx.x);
  if (i >= task.head_dim) return;
  double total = static_cast<double>(task.d_gain[i]);
  for (int run = 0; run * kHeadGainRun < task.count; ++run) total += task.runs[run * task.head_dim + i];
  task.d_gain[i] = static_cast<float>(total);
}

}  // namespace tinylora::cuda
