// rope_store           q_out = rope(norm(q)), keys[slot] = rope(norm(k)), values[slot] = v;  norm only with gains
// rope_store_backward  the rotation backwards, then the norm's gradient; dk and dv first sum over the row's stores
// rope turns each pair (i, i + D/2) by the row's angle: (a cos - b sin, b cos + a sin).
#pragma once

#include "cpu/attention_kernels.h"
#include "cpu/norm_rows.h"

namespace tinylora::TINYLORA_ISA {

/// The angles of one row: cos and sin [D / 2].
struct Angles {
  const float* cos;
  const float* sin;
};

template <class Args>
TINYLORA_INLINE Angles angles_of(const Args& args, std::int64_t row) {
  const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(args.layout->position[row]) * (args.head_dim / 2);
  return {args.cos + place, args.sin + place};
}

/// y = x [D] turned; y may be x.
template <typename T>
TINYLORA_INLINE void turn(int dim, Angles angles, const float* x, T* y) {
  const int half = dim / 2;
  for_vectors(half, [&](std::ptrdiff_t i, auto lanes) {
    const Floats a = load(x + i, lanes);
    const Floats b = load(x + half + i, lanes);
    const Floats c = load(angles.cos + i, lanes);
    const Floats s = load(angles.sin + i, lanes);
    store(a * c - b * s, y + i, lanes);
    store(b * c + a * s, y + half + i, lanes);
  });
}

/// The transpose of `turn`.
template <typename T>
TINYLORA_INLINE void turn_back(int dim, Angles angles, const float* dy, T* dx) {
  const int half = dim / 2;
  for_vectors(half, [&](std::ptrdiff_t i, auto lanes) {
    const Floats a = load(dy + i, lanes);
    const Floats b = load(dy + half + i, lanes);
    const Floats c = load(angles.cos + i, lanes);
    const Floats s = load(angles.sin + i, lanes);
    store(a * c + b * s, dx + i, lanes);
    store(b * c - a * s, dx + half + i, lanes);
  });
}

template <typename T>
TINYLORA_INLINE void norm_and_turn(int dim, const float* gain, float epsilon, Angles angles, const float* x, T* y) {
  if (gain == nullptr) return turn(dim, angles, x, y);
  alignas(64) float normed[kMaxHeadDim];
  norm_row(dim, x, gain, inverse_rms(dim, x, epsilon), normed);
  turn(dim, angles, normed, y);
}

template <typename T>
TINYLORA_INLINE void norm_and_turn_back(int dim, const float* gain, float epsilon, Angles angles, const float* x,
                                        const float* dy, T* dx) {
  if (gain == nullptr) return turn_back(dim, angles, dy, dx);
  alignas(64) float turned[kMaxHeadDim];
  turn_back(dim, angles, dy, turned);
  norm_row_backward(dim, x, gain, inverse_rms(dim, x, epsilon), turned,
                    [&](std::ptrdiff_t i, auto lanes, Floats value) { store(value, dx + i, lanes); });
}

/// Puts key and value of one head into their page, in the order of attention_kernels.h. Elements are written one by
/// one: the other half of a bf16 pair of values belongs to another slot, perhaps to another thread.
TINYLORA_INLINE void put(int dim, int offset, const float* key, const float* value, float* keys, float* values) {
  for (int i = 0; i < dim; ++i) keys[i * kPageSize + offset] = key[i];
  for (int i = 0; i < dim; ++i) values[offset * dim + i] = value[i];
}
TINYLORA_INLINE void put(int dim, int offset, const Bf16* key, const Bf16* value, Bf16* keys, Bf16* values) {
  for (int i = 0; i < dim; i += 2) {
    Bf16* pair = keys + i * kPageSize + 2 * offset;
    pair[0] = key[i];
    pair[1] = key[i + 1];
  }
  Bf16* row = values + offset / 2 * 2 * dim + offset % 2;
  for (int i = 0; i < dim; ++i) row[2 * i] = value[i];
}

template <typename T>
void rope_store(const RopeStoreArgs& args, RowRange rows, RowRange stores) {
  const int dim = args.head_dim;
  for (std::int64_t m = rows.first; m < rows.last; ++m) {
    const Angles angles = angles_of(args, m);
    for (int head = 0; head < args.heads; ++head) {
      const std::ptrdiff_t place = (m * args.heads + head) * dim;
      norm_and_turn(dim, args.q_gain, args.epsilon, angles, args.q + place, static_cast<T*>(args.q_out) + place);
    }
  }
  for (std::int64_t store = stores.first; store < stores.last; ++store) {
    const std::int64_t m = args.layout->store_row[store];
    const int slot = args.layout->store_slot[store];
    const Angles angles = angles_of(args, m);
    for (int head = 0; head < args.kv_heads; ++head) {
      alignas(64) T key[kMaxHeadDim];
      alignas(64) T value[kMaxHeadDim];
      const std::ptrdiff_t from = (m * args.kv_heads + head) * dim;
      norm_and_turn(dim, args.k_gain, args.epsilon, angles, args.k + from, key);
      copy_row(dim, args.v + from, value);
      const std::ptrdiff_t page =
          (static_cast<std::ptrdiff_t>(slot / kPageSize) * args.kv_heads + head) * kPageSize * dim;
      put(dim, slot % kPageSize, key, value, static_cast<T*>(args.pages.keys) + page,
          static_cast<T*>(args.pages.values) + page);
    }
  }
}

/// sum [D] over the slots of a row's stores, for one kv head; zeros without a store.
TINYLORA_INLINE void sum_slots(const RopeStoreBackwardArgs& args, RowRange stores, int head, const float* slots,
                               float* sum) {
  const int dim = args.head_dim;
  for (int i = 0; i < dim; ++i) sum[i] = 0;
  for (std::int64_t s = stores.first; s < stores.last; ++s) {
    const float* from = slots + (static_cast<std::ptrdiff_t>(args.layout->store_slot[s]) * args.kv_heads + head) * dim;
    for_vectors(dim, [&](std::ptrdiff_t i, auto lanes) {
      store(load(sum + i, lanes) + load(from + i, lanes), sum + i, lanes);
    });
  }
}

template <typename T>
void rope_store_backward(const RopeStoreBackwardArgs& args, RowRange rows, RowRange stores) {
  const int dim = args.head_dim;
  RowRange own = {stores.first, stores.first};  // the stores of row m
  for (std::int64_t m = rows.first; m < rows.last; ++m) {
    const Angles angles = angles_of(args, m);
    for (int head = 0; head < args.heads; ++head) {
      const std::ptrdiff_t place = (m * args.heads + head) * dim;
      norm_and_turn_back(dim, args.q_gain, args.epsilon, angles, args.q + place, args.dq_out + place,
                         static_cast<T*>(args.dq) + place);
    }
    own.first = own.last;
    while (own.last < stores.last && args.layout->store_row[own.last] == m) ++own.last;
    for (int head = 0; head < args.kv_heads; ++head) {
      const std::ptrdiff_t place = (m * args.kv_heads + head) * dim;
      alignas(64) float sum[kMaxHeadDim];
      sum_slots(args, own, head, args.d_keys, sum);
      norm_and_turn_back(dim, args.k_gain, args.epsilon, angles, args.k + place, sum, static_cast<T*>(args.dk) + place);
      sum_slots(args, own, head, args.d_values, sum);
      copy_row(dim, sum, static_cast<T*>(args.dv) + place);
    }
  }
}

}  // namespace tinylora::TINYLORA_ISA
