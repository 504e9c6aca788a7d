// q_out = rope(norm(q)), keys[slot] = rope(norm(k)), values[slot] = v;  norm only with gains
//
// One warp a head (rope_head.cuh), which is read once, turned in registers and written once, in runs of 64 or 128
// bytes. Bytes moved: 4 in, 2 or 4 out per element, and the angles, which all heads of a row share through the cache;
// nothing but memory can limit it.
#include "early_start.cuh"
#include "rope.h"
#include "rope_head.cuh"

namespace tinylora::cuda {
namespace {

__device__ void turn_forward(Head& head, const RopeStoreArgs& args, const float* gain, int position, int lane) {
  const int half = args.head_dim / 2;
  if (gain != nullptr) {
    scale(head, inverse_rms(head, args.head_dim, args.epsilon));
    multiply(head, load_head(gain, half, lane));
  }
  const long long angle = static_cast<long long>(position) * half;
  turn(head, args.cos + angle, args.sin + angle, 1, half, lane);
}

/// Warps 0 .. rows * heads - 1 turn queries; the next stores * kv_heads each store one key and value.
template <typename T>
__device__ void rope_store(const RopeStoreTask& task) {
  await_launch_before();
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

}  // namespace tinylora::cuda
