// rope_store           q_out = rope(norm(q)), keys[slot] = rope(norm(k)), values[slot] = v;  norm only with gains
// rope_store_backward  the transposed rotation, then the norm's gradient; dk, dv sum over a row's slots, ascending
//
// One warp a head: lane l owns the pairs (i, i + D/2) with i = l, l + 32, ..., up to four of them (D <= 256), so a head
// is read once, turned in registers and written once, in runs of 64 or 128 bytes. The sums of the norm are taken over a
// lane's pairs ascending, then over the warp in a butterfly: an order fixed by D. Bytes moved: 4 in, 2 or 4 out per
// element, and the angles, which all heads of a row share through the cache; nothing but memory can limit it.
// In the backward pass a block owns a tile of rows, so that it can make s of q_proj, k_proj and v_proj (low_rank.cuh)
// from what it has just written, which is still in L2.
#include "low_rank.cuh"
#include "rope.h"
#include "warp.cuh"

namespace tinylora::cuda {
namespace {

constexpr int kPairs = 4;  // of one lane

struct Head {
  float low[kPairs];   // elements i
  float high[kPairs];  // elements i + D/2
};

__device__ Head load_head(const float* x, int half, int lane) {
  Head head;
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int i = lane + 32 * j;
    head.low[j] = i < half ? x[i] : 0.0F;
    head.high[j] = i < half ? x[i + half] : 0.0F;
  }
  return head;
}

template <typename T>
__device__ void store_head(const Head& head, T* y, int half, int lane) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int i = lane + 32 * j;
    if (i >= half) continue;
    store(y + i, head.low[j]);
    store(y + i + half, head.high[j]);
  }
}

/// sum of a b over the head.
__device__ float dot(const Head& a, const Head& b) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kPairs; ++j) sum = fmaf(a.high[j], b.high[j], fmaf(a.low[j], b.low[j], sum));
  return warp_sum(sum);
}

__device__ float inverse_rms(const Head& x, int dim, float epsilon) {
  return 1.0F / sqrtf(dot(x, x) / static_cast<float>(dim) + epsilon);
}

__device__ void scale(Head& head, float factor) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    head.low[j] *= factor;
    head.high[j] *= factor;
  }
}

__device__ void multiply(Head& head, const Head& by) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    head.low[j] *= by.low[j];
    head.high[j] *= by.high[j];
  }
}

/// (a cos - b sin, b cos + a sin); with direction -1 the transpose.
__device__ void turn(Head& head, const float* cos, const float* sin, float direction, int half, int lane) {
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
    const int i = lane + 32 * j;
    if (i >= half) continue;
    const float c = cos[i], s = sin[i] * direction;
    const float a = head.low[j], b = head.high[j];
    head.low[j] = a * c - b * s;
    head.high[j] = b * c + a * s;
  }
}

__device__ void turn_forward(Head& head, const RopeStoreArgs& args, const float* gain, int position, int lane) {
  const int half = args.head_dim / 2;
  if (gain != nullptr) {
    scale(head, inverse_rms(head, args.head_dim, args.epsilon));
    multiply(head, load_head(gain, half, lane));
  }
  const long long angle = static_cast<long long>(position) * half;
  turn(head, args.cos + angle, args.sin + angle, 1, half, lane);
}

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

/// Warps 0 .. rows * heads - 1 turn queries; the next stores * kv_heads each store one key and value.
template <typename T>
__device__ void rope_store(const RopeStoreTask& task) {
  const RopeStoreArgs& args = task.args;
  const int dim = args.head_dim, half = dim / 2;
  const int lane = static_cast<int>(threadIdx.x % 32);
  long long item = static_cast<long long>(blockIdx.x) * kRopeWarps + threadIdx.x / 32;
  const long long queries = static_cast<long long>(task.layout.rows) * args.heads;
  if (item < queries) {
    Head head = load_head(args.q + item * dim, half, lane);
    turn_forward(head, args, args.q_gain, task.layout.position[item / args.heads], lane);
    store_head(head, static_cast<T*>(args.q_out) + item * dim, half, lane);
    return;
  }
  item -= queries;
  const long long which = item / args.kv_heads;
  if (which >= task.layout.stores) return;
  const int kv_head = static_cast<int>(item % args.kv_heads);
  const int row = task.layout.store_row[which], slot = task.layout.store_slot[which];
  const long long from = (static_cast<long long>(row) * args.kv_heads + kv_head) * dim;
  const long long page = static_cast<long long>(slot / kPageSize) * args.kv_heads + kv_head;
  const long long to = (page * kPageSize + slot % kPageSize) * dim;
  Head head = load_head(args.k + from, half, lane);
  turn_forward(head, args, args.k_gain, task.layout.position[row], lane);
  store_head(head, static_cast<T*>(args.pages.keys) + to, half, lane);
  store_head(load_head(args.v + from, half, lane), static_cast<T*>(args.pages.values) + to, half, lane);
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

extern "C" __global__ __launch_bounds__(kRopeWarps * 32) void rope_store_f32(RopeStoreTask task) {
  rope_store<float>(task);
}
extern "C" __global__ __launch_bounds__(kRopeWarps * 32) void rope_store_bf16(RopeStoreTask task) {
  rope_store<__nv_bfloat16>(task);
}
extern "C" __global__ __launch_bounds__(kRopeWarps * 32) void rope_store_f16(RopeStoreTask task) {
  rope_store<__half>(task);
}
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
