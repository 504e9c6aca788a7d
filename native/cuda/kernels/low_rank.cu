// The rank-r side of a product, beside its main loop:
//   low_rank       z = x A^T, left = z R_k^T (forward);  s = dy B, left = s R_k (backward), of rows that are there
//   rank_gradient  dR_k += sum over rows of adapter k of s^T z, in double; or over the rows of part k
//   pad_rows       rows of 16-bit numbers copied to a stride that cp.async can read
//
// low_rank: a tile of rows and a task a block (low_rank.cuh), for products whose input comes from an op that was not
// told of them; the layers tell them all. Bytes a row: k acts. Limit: memory, and the 2 us of a launch.
//
// rank_gradient: a block an adapter, task and row i of dR. Thread (lane, j) adds the products s_i z_j, exact in double,
// of rows lane, lane + L, lane + 2 L, ... of the batch that have the adapter, L = 512 / rank; then the lanes fold in
// halves. The order is that of the rows' places in the batch: no other rows, no grid changes it. Of a part the lanes
// start at its first row, so its bits are those of the part alone in a batch. Each block reads all
// numbers of adapters, from L2, and of s and z what is its own. Limit: latency of M / L loads, four under way at once.
#include "low_rank.cuh"

using namespace tinylora::cuda;

namespace {

template <typename Act, class Tile>
__device__ void low_rank(const LowRankKernelArgs& args) {
  const Act* x = static_cast<const Act*>(args.x);
  LowRankArgs own = args.low_rank;
  own.tasks = 1;
#pragma unroll
  for (int t = 1; t < kMaxTasks; ++t) {
    if (blockIdx.y == t) own.task[0] = args.low_rank.task[t];
  }
  low_rank_rows<Act, Tile, 1, 1>(own, [&](const auto& groups, const Place& place, bool, Words<Act>(&words)[1]) {
    words[0] = groups.load_words(x + place.at, place.column);
  });
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) low_rank_bf16(LowRankKernelArgs args) {
  low_rank<__nv_bfloat16, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) low_rank_f16(LowRankKernelArgs args) {
  low_rank<__half, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kFlatThreads, 1) low_rank_f32(LowRankKernelArgs args) {
  low_rank<float, Flat>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 3) low_rank_tall_bf16(LowRankKernelArgs args) {
  low_rank<__nv_bfloat16, Tall>(args);
}
extern "C" __global__ void __launch_bounds__(kTallThreads, 3) low_rank_tall_f16(LowRankKernelArgs args) {
  low_rank<__half, Tall>(args);
}

extern "C" __global__ void __launch_bounds__(kRankGradientThreads) rank_gradient(RankGradientKernelArgs args) {
  __shared__ double sums[kRankGradientThreads];
  RankGradientTask task = args.task[0];
#pragma unroll
  for (int t = 1; t < kMaxTasks; ++t) {
    if (blockIdx.z == t) task = args.task[t];
  }
  const int rank = task.rank, i = static_cast<int>(blockIdx.y), run = static_cast<int>(blockIdx.x);
  if (i >= rank) return;
  const int lanes = kRankGradientThreads / rank;
  const int lane = static_cast<int>(threadIdx.x) / rank, j = static_cast<int>(threadIdx.x) % rank;
  const bool by_part = args.part_rows != nullptr;
  const int first = by_part ? args.part_rows[run] : 0, last = by_part ? args.part_rows[run + 1] : args.rows;
  const int adapter = by_part ? task.adapter[first] : run;
  double sum = 0;
  bool found = false;
  if (lane < lanes) {
#pragma unroll 4
    for (int row = first + lane; row < last; row += lanes) {
      if (task.adapter[row] != adapter) continue;
      const double left = task.s[int64_t{row} * rank + i], right = task.z[int64_t{row} * rank + j];
      sum += left * right;
      found = true;
    }
  }
  if (__syncthreads_or(found) == 0) return;
  sums[threadIdx.x] = sum;
  for (int count = lanes; count > 1;) {
    const int half = (count + 1) / 2;
    __syncthreads();
    if (lane < count - half) sums[lane * rank + j] += sums[(lane + half) * rank + j];
    count = half;
  }
  if (lane == 0) task.d_r[(int64_t{run} * rank + i) * rank + j] += sums[j];
}

extern "C" __global__ void pad_rows(PadRowsKernelArgs args) {
  const auto* x = static_cast<const uint16_t*>(args.x) + int64_t{blockIdx.x} * args.width;
  auto* y = static_cast<uint16_t*>(args.y) + int64_t{blockIdx.x} * args.stride;
  for (int i = threadIdx.x; i < args.stride; i += blockDim.x) y[i] = i < args.width ? x[i] : uint16_t{0};
}
