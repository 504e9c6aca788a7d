// swiglu           h = silu(gate) * up,  silu(g) = g / (1 + exp(-g))
// swiglu_backward  d_gate = dh * up * (sigma + gate * sigma * (1 - sigma)),  d_up = dh * silu(gate)
// cast             y = x rounded
// gather_rows      y[i] = x[rows[i]]
// copy_rows        to[to_rows[i]] = from[from_rows[i]]
#include <algorithm>
#include <cmath>

#include "reference/reference.h"

namespace tinylora::reference {
namespace {

double sigmoid(double g) { return 1 / (1 + std::exp(-g)); }

}  // namespace

void swiglu(DType dtype, const SwigluArgs& args) {
  const ActIn gate(dtype, args.gate), up(dtype, args.up);
  const ActOut h(dtype, args.h);
  for (std::size_t i = 0; i < at(args.rows, args.width); ++i) {
    const double g = gate[i];
    h.set(i, g * sigmoid(g) * double{up[i]});
  }
}

void swiglu_backward(DType dtype, const SwigluBackwardArgs& args) {
  const ActIn gate(dtype, args.gate), up(dtype, args.up);
  const ActOut d_gate(dtype, args.d_gate), d_up(dtype, args.d_up);
  for (std::size_t i = 0; i < at(args.rows, args.width); ++i) {
    const double g = gate[i], u = up[i], dh = args.dh[i];
    const double sigma = sigmoid(g);
    d_gate.set(i, dh * u * sigma * (1 + g * (1 - sigma)));
    d_up.set(i, dh * g * sigma);
  }
}

void cast(DType dtype, const CastArgs& args) {
  const ActOut y(dtype, args.y);
  for (std::int64_t i = 0; i < args.count; ++i) y.set(static_cast<std::size_t>(i), double{args.x[i]});
}

void gather_rows(const GatherRowsArgs& args) {
  for (int i = 0; i < args.count; ++i) {
    std::copy_n(args.x + at(args.rows[i], args.width), args.width, args.y + at(i, args.width));
  }
}

void copy_rows(const CopyRowsArgs& args) {
  for (const CopyRowsArgs::Array& array : args.arrays) {
    const auto* from = static_cast<const std::byte*>(array.from);
    auto* to = static_cast<std::byte*>(array.to);
    for (int i = 0; i < args.count; ++i) {
      const auto from_row = static_cast<std::size_t>(args.from_rows ? args.from_rows[i] : i);
      const auto to_row = static_cast<std::size_t>(args.to_rows ? args.to_rows[i] : i);
      std::copy_n(from + from_row * array.from_stride, array.bytes, to + to_row * array.to_stride);
    }
  }
}

}  // namespace tinylora::reference
