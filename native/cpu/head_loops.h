// The kernels of head_kernels.h, written once for all instruction sets.
#pragma once

#include "cpu/head_kernels.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

/// Leaves l in logits, or e^(l - largest).
template <bool exponentials>
ChunkStats chunk_stats(float* logits, int count, float inv_temperature) {
  const Floats scale = Floats::all(inv_temperature);
  const Floats lowest = Floats::all(-__builtin_inff());
  const int whole = count / kLanes * kLanes;
  const int rest = count - whole;

  Floats most = lowest;
  for (int i = 0; i < whole; i += kLanes) {
    const Floats l = Floats::load(logits + i) * scale;
    l.store(logits + i);
    most = max(most, l);
  }
  if (rest > 0) {
    const Floats l = Floats::load(logits + whole, rest) * scale;
    l.store(logits + whole, rest);
    most = max(most, first(rest, l, lowest));
  }

  const float shift = largest(most);
  const Floats shifts = Floats::all(shift);
  Floats total = Floats::zero();
  Floats weighted = Floats::zero();
  for (int i = 0; i < whole; i += kLanes) {
    const Floats d = Floats::load(logits + i) - shifts;
    const Floats e = exp(d);
    if constexpr (exponentials) e.store(logits + i);
    total = total + e;
    weighted = fma(e, d, weighted);
  }
  if (rest > 0) {
    const Floats d = Floats::load(logits + whole, rest) - shifts;
    const Floats e = first(rest, exp(d), Floats::zero());
    if constexpr (exponentials) e.store(logits + whole, rest);
    total = total + e;
    weighted = fma(e, d, weighted);
  }
  return {shift, sum(total), sum(weighted)};
}

inline void exponentials(float* logits, int count, float inv_temperature, float shift) {
  const Floats scale = Floats::all(inv_temperature);
  const Floats shifts = Floats::all(shift);
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) exp(Floats::load(logits + i) * scale - shifts).store(logits + i);
  if (i < count) exp(Floats::load(logits + i, count - i) * scale - shifts).store(logits + i, count - i);
}

template <class Out>
void scaled_into(const float* values, int count, float scale, Out* y) {
  int i = 0;
  for (; i + kLanes <= count; i += kLanes) (Floats::load(values + i) * Floats::all(scale)).store(y + i);
  if (i < count) (Floats::load(values + i, count - i) * Floats::all(scale)).store(y + i, count - i);
}

inline void scaled(const float* values, int count, float scale, void* y, DType dtype) {
  if (dtype == DType::bf16) {
    scaled_into(values, count, scale, static_cast<Bf16*>(y));
  } else {
    scaled_into(values, count, scale, static_cast<float*>(y));
  }
}

inline constexpr HeadKernels kHeadTable = {chunk_stats<false>, chunk_stats<true>, exponentials, scaled};

}  // namespace tinylora::TINYLORA_ISA
