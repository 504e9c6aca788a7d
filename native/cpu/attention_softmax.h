// The running softmax of attention's forward pass: a page of scores at a time,
//   m' = max(m, max s),  p = e^(s - m'),  l = l e^(m - m') + sum p
// Each query has its own lanes and order, so its bits do not depend on the other queries; scores of keys that it does
// not see may be anything.
#pragma once

#include "cpu/attention_kernels.h"
#include "cpu/lanes.h"

namespace tinylora::TINYLORA_ISA {

inline constexpr float kMinusInfinity = -__builtin_inff();

/// m and l of up to kRows queries.
template <int kRows>
struct RunningSoftmax {
  static constexpr int kPadded = (kRows + kLanes - 1) / kLanes * kLanes;
  alignas(64) float largest[kPadded];
  alignas(64) float total[kPadded];

  TINYLORA_INLINE void start() {
    for (int i = 0; i < kPadded; ++i) {
      largest[i] = kMinusInfinity;
      total[i] = 0;
    }
  }

  /// Query i goes on as query j of another.
  template <class Other>
  TINYLORA_INLINE void take(int i, const Other& other, int j) {
    largest[i] = other.largest[j];
    total[i] = other.total[j];
  }

  /// Queries skip .. rows - 1, of which query i sees the first keys[i] of the page, at least one. Probabilities and
  /// scores (which are scaled in place) are [rows, kPageSize], correction [kPadded] is e^(m - m').
  template <typename P>
  TINYLORA_INLINE void add_page(int skip, int rows, const int* keys, float scale, float* scores, P* probabilities,
                                float* correction) {
    alignas(64) float before[kPadded] = {};  // m
    alignas(64) float after[kPadded] = {};   // m'
    for (int i = skip; i < rows; ++i) {
      float* s = scores + i * kPageSize;
      Floats top = Floats::all(kMinusInfinity);
      for (int t = 0; t < kPageSize; t += kLanes) {
        const int seen = keys[i] - t;
        Floats value = Floats::load(s + t) * Floats::all(scale);
        if (seen < kLanes) value = first(seen < 0 ? 0 : seen, value, Floats::all(kMinusInfinity));
        value.store(s + t);
        top = max(top, value);
      }
      const float in_page = tinylora::TINYLORA_ISA::largest(top);
      before[i] = largest[i];
      after[i] = in_page > before[i] ? in_page : before[i];
    }
    for (int i = 0; i < kPadded; i += kLanes) {
      exp(Floats::load(before + i) - Floats::load(after + i)).store(correction + i);
    }
    for (int i = skip; i < rows; ++i) {
      Floats page_total = Floats::zero();
      for (int t = i * kPageSize; t < (i + 1) * kPageSize; t += kLanes) {
        const Floats weight = exp(Floats::load(scores + t) - Floats::all(after[i]));
        weight.store(probabilities + t);
        page_total = page_total + weight;
      }
      largest[i] = after[i];
      total[i] = total[i] * correction[i] + sum(page_total);
    }
  }

  /// to = out / l, both [head_dim], and m + log l where `lse` is wanted, of query i. A zero has no sign then: it would
  /// tell of pages that only other queries saw.
  template <typename T>
  TINYLORA_INLINE void finish(int i, int head_dim, const float* out, T* to, float* lse) const {
    const Floats share = Floats::all(1.0F / total[i]);
    for_vectors(head_dim, [&](std::ptrdiff_t d, auto lanes) {
      store(load(out + d, lanes) * share + Floats::zero(), to + d, lanes);
    });
    if (lse != nullptr) *lse = largest[i] + __builtin_logf(total[i]);
  }
};

}  // namespace tinylora::TINYLORA_ISA
