// The gradient of rope.cu: the transposed rotation, then the norm's gradient; dk, dv sum over a row's slots, ascending.
//
// One warp a head (rope_head.cuh). A block owns a tile of rows, so that it can make s of q_proj, k_proj and v_proj
// (low_rank.cuh) from what it has just written, which is still in L2. Bytes moved: 4 in, 2 or 4 out per element;
// nothing but memory can limit it.
#include "low_rank.cuh"
#include "rope.h"
#include "rope_head.cuh"

namespace tinylora::cuda {
namespace {

/// From the gradient of the turned head to that of x, which is read only with a gain.
__device__ void turn_back(Head& gradient, const RopeStoreBackwardArgs& args, const float* gain, const float* x,
                          int position, int lane) {
  const int half = args.head_dim / 2;
  const long long angle = static_cast<long long>(position) * half;
  turn(gradient, args.cos + angle, args.sin + angle, -1, half, lane);
  if (gain == nullptr) return;
  multiply(gradient, load_head(gain, half, lane));
  const Head own = load_head(x, half, lane);
  const float inv = inverse_rms(own, args.head_dim, args.epsilon);
  const float pull = inv * inv * (dot(gradient, own) / static_cast<float>(args.head_dim));
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    gradient.low[j] = inv * (gradient.low[j] - own.low[j] * pull);
    gradient.high[j] = inv * (gradient.high[j] - own.high[j] * pull);
  }
}

/// The first store of `row`, or of the next row that has one.
__device__ int first_store(const SequenceLayout& layout, int row) {
  int low = 0, high = layout.stores;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (layout.store_row[middle] < row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

__device__ void add(Head& sum, const Head& term) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    sum.low[j] += term.low[j];
    sum.high[j] += term.high[j];
  }
}

/// dk and dv of one head, from all slots its row was stored in.
template <typename T>
__device__ void gather_key_and_value(const RopeStoreBackwardTask& task, int row, int kv_head, int lane) {
  const RopeStoreBackwardArgs& args = task.args;
  const int dim = args.head_dim, half = dim / 2;
  const long long item = static_cast<long long>(row) * args.kv_heads + kv_head;
  Head d_key = {}, d_value = {};
  for (int i = first_store(task.layout, row); i < task.layout.stores && task.layout.store_row[i] == row; ++i) {
    const long long from = (static_cast<long long>(task.layout.store_slot[i]) * args.kv_heads + kv_head) * dim;
    add(d_key, load_head(args.d_keys + from, half, lane));
    add(d_value, load_head(args.d_values + from, half, lane));
  }
  turn_back(d_key, args, args.k_gain, args.k + item * dim, task.layout.position[row], lane);
  store_head(d_key, static_cast<T*>(args.dk) + item * dim, half, lane);
  store_head(d_value, static_cast<T*>(args.dv) + item * dim, half, lane);
}

/// s of one of the three gradients; `x` [M, k].
template <typename T, class Tile>
__device__ void sum_rows(const LowRankArgs& low_rank, const void* x) {
  if (low_rank.tasks == 0) return;
  low_rank_rows<T, Tile, 1, 1>(low_rank, [&](const auto& groups, const Place& place, bool, Words<T>(&words)[1]) {
    words[0] = groups.load_words(static_cast<const T*>(x) + place.at, place.column);
  });
}

/// Warps turn the query heads of the tile's rows back, and gather their key and value heads.
template <typename T, class Tile>
__device__ void rope_store_backward(const RopeStoreBackwardTask& task) {
  const RopeStoreBackwardArgs& args = task.args;
  const int dim = args.head_dim, half = dim / 2;
  const int lane = static_cast<int>(threadIdx.x % 32), heads = args.heads + args.kv_heads;
  const int row0 = Tile::first_row(), items = min(Tile::kRows, task.layout.rows - row0) * heads;
  for (int item = static_cast<int>(threadIdx.x / 32); item < items; item += Tile::kThreads / 32) {
    const int row = row0 + item / heads, i = item % heads;
    if (i >= args.heads) {
      gather_key_and_value<T>(task, row, i - args.heads, lane);
      continue;
    }
    const long long place = static_cast<long long>(row) * args.heads + i;
    Head head = load_head(args.dq_out + place * dim, half, lane);
    turn_back(head, args, args.q_gain, args.q + place * dim, task.layout.position[row], lane);
    store_head(head, static_cast<T*>(args.dq) + place * dim, half, lane);
  }
  __syncthreads();
  sum_rows<T, Tile>(task.of_q, args.dq);
  sum_rows<T, Tile>(task.of_k, args.dk);
  sum_rows<T, Tile>(task.of_v, args.dv);
}

}  // namespace

extern "C" __global__ __launch_bounds__(kFlatThreads, 1) void rope_store_backward_f32(RopeStoreBackwardTask task) {
  rope_store_backward<float, Flat>(task);
}
extern "C" __global__ __launch_bounds__(kFlatThreads, 1) void rope_store_backward_bf16(RopeStoreBackwardTask task) {
  rope_store_backward<__nv_bfloat16, Flat>(task);
}
extern "C" __global__ __launch_bounds__(kFlatThreads, 1) void rope_store_backward_f16(RopeStoreBackwardTask task) {
  rope_store_backward<__half, Flat>(task);
}
extern "C" __global__ __launch_bounds__(kTallThreads,
                                        2) void rope_store_backward_tall_bf16(RopeStoreBackwardTask task) {
  rope_store_backward<__nv_bfloat16, Tall>(task);
}
extern "C" __global__ __launch_bounds__(kTallThreads, 2) void rope_store_backward_tall_f16(RopeStoreBackwardTask task) {
  rope_store_backward<__half, Tall>(task);
}

}  // namespace tinylora::cuda
