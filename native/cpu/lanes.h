// Loops over a row in whole vectors and a last part of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

struct WholeVector {};
struct PartVector {
  int count;
};

template <typename T>
TINYLORA_INLINE Floats load(const T* p, WholeVector) {
  return Floats::load(p);
}
template <typename T>
TINYLORA_INLINE Floats load(const T* p, PartVector part) {
  return Floats::load(p, part.count);
}
template <typename T>
TINYLORA_INLINE void store(Floats a, T* p, WholeVector) {
  a.store(p);
}
template <typename T>
TINYLORA_INLINE void store(Floats a, T* p, PartVector part) {
  a.store(p, part.count);
}

/// body(i, lanes) for i = 0, kLanes, 2 kLanes, ...: `lanes` goes into load and store.
template <class Body>
TINYLORA_INLINE void for_vectors(std::ptrdiff_t count, const Body& body) {
  std::ptrdiff_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, WholeVector{});
  if (i < count) body(i, PartVector{static_cast<int>(count - i)});
}

/// Sum of body(i, lanes), which gives zeros in lanes beyond `count`. Four sums run side by side: the order is fixed by
/// `count`.
template <class Body>
TINYLORA_INLINE float sum_vectors(std::ptrdiff_t count, const Body& body) {
  Floats sums[4] = {Floats::zero(), Floats::zero(), Floats::zero(), Floats::zero()};
  std::ptrdiff_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) sums[j] = sums[j] + body(i + j * kLanes, WholeVector{});
  }
  for_vectors(count - i, [&](std::ptrdiff_t rest, auto lanes) { sums[0] = sums[0] + body(i + rest, lanes); });
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

/// to[i] = from[i], converted.
template <typename From, typename To>
TINYLORA_INLINE void copy_row(std::ptrdiff_t count, const From* from, To* to) {
  if constexpr (std::is_same_v<From, To> && sizeof(To) < sizeof(float)) {
    std::memcpy(static_cast<void*>(to), from, static_cast<std::size_t>(count) * sizeof(To));
  } else {
    for_vectors(count, [&](std::ptrdiff_t i, auto lanes) { store(load(from + i, lanes), to + i, lanes); });
  }
}

/// sum a[i] * b[i].
template <typename A, typename B>
TINYLORA_INLINE float dot(std::ptrdiff_t count, const A* a, const B* b) {
  return sum_vectors(count, [&](std::ptrdiff_t i, auto lanes) { return load(a + i, lanes) * load(b + i, lanes); });
}

}  // namespace tinylora::TINYLORA_ISA
