// swiglu           h = silu(gate) * up,  silu(g) = g * sigma(g),  sigma(g) = 1 / (1 + e^-g)
// swiglu_backward  d_gate = dh * up * sigma * (1 + gate * (1 - sigma)),  d_up = dh * silu(gate)
// cast             y = x rounded
#pragma once

#include "cpu/lanes.h"
#include "cpu/row_kernels.h"

namespace tinylora::TINYLORA_ISA {

TINYLORA_INLINE Floats sigmoid(Floats x) { return Floats::all(1.0F) / (Floats::all(1.0F) + exp(Floats::zero() - x)); }

template <typename T>
void swiglu(const SwigluArgs& args, RowRange elements) {
  const T* gate = static_cast<const T*>(args.gate) + elements.first;
  const T* up = static_cast<const T*>(args.up) + elements.first;
  T* h = static_cast<T*>(args.h) + elements.first;
  for_vectors(elements.last - elements.first, [&](std::ptrdiff_t i, auto lanes) {
    const Floats g = load(gate + i, lanes);
    store(g * sigmoid(g) * load(up + i, lanes), h + i, lanes);
  });
}

template <typename T>
void swiglu_backward(const SwigluBackwardArgs& args, RowRange elements) {
  const T* gate = static_cast<const T*>(args.gate) + elements.first;
  const T* up = static_cast<const T*>(args.up) + elements.first;
  const float* dh = args.dh + elements.first;
  T* d_gate = static_cast<T*>(args.d_gate) + elements.first;
  T* d_up = static_cast<T*>(args.d_up) + elements.first;
  const Floats one = Floats::all(1.0F);
  for_vectors(elements.last - elements.first, [&](std::ptrdiff_t i, auto lanes) {
    const Floats g = load(gate + i, lanes);
    const Floats gradient = load(dh + i, lanes);
    const Floats sigma = sigmoid(g);
    const Floats slope = sigma * fma(g, one - sigma, one);
    store(gradient * load(up + i, lanes) * slope, d_gate + i, lanes);
    store(gradient * (g * sigma), d_up + i, lanes);
  });
}

template <typename T>
void cast(const CastArgs& args, RowRange elements) {
  copy_row(elements.last - elements.first, args.x + elements.first, static_cast<T*>(args.y) + elements.first);
}

}  // namespace tinylora::TINYLORA_ISA
