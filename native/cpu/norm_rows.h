// rms_norm           y = x * inv_rms * gain,  inv_rms = 1 / sqrt(mean(x^2) + epsilon)
// rms_norm_backward  dx += inv_rms * (g - x * inv_rms^2 * mean(g * x)),  g = dy * gain
#pragma once

#include "cpu/lanes.h"
#include "cpu/row_kernels.h"

namespace tinylora::TINYLORA_ISA {

TINYLORA_INLINE float inverse_rms(int width, const float* x, float epsilon) {
  const float mean = dot(width, x, x) / static_cast<float>(width);
  return 1.0F / square_root(mean + epsilon);
}

template <typename T>
TINYLORA_INLINE void norm_row(int width, const float* x, const float* gain, float inv_rms, T* y) {
  for_vectors(width, [&](std::ptrdiff_t i, auto lanes) {
    store(load(x + i, lanes) * Floats::all(inv_rms) * load(gain + i, lanes), y + i, lanes);
  });
}

/// emit(i, lanes, dx) for each vector of dx = inv_rms * (g - x * inv_rms^2 * mean(g * x)).
template <class Emit>
TINYLORA_INLINE void norm_row_backward(int width, const float* x, const float* gain, float inv_rms, const float* dy,
                                       const Emit& emit) {
  const float total = sum_vectors(width, [&](std::ptrdiff_t i, auto lanes) {
    return load(dy + i, lanes) * load(gain + i, lanes) * load(x + i, lanes);
  });
  const Floats along = Floats::all(inv_rms * inv_rms * (total / static_cast<float>(width)));
  for_vectors(width, [&](std::ptrdiff_t i, auto lanes) {
    const Floats g = load(dy + i, lanes) * load(gain + i, lanes);
    emit(i, lanes, Floats::all(inv_rms) * (g - load(x + i, lanes) * along));
  });
}

template <typename T>
void rms_norm(const RmsNormArgs& args, RowRange rows) {
  for (std::int64_t m = rows.first; m < rows.last; ++m) {
    const float* x = args.x + m * args.width;
    args.inv_rms[m] = inverse_rms(args.width, x, args.epsilon);
    norm_row(args.width, x, args.gain, args.inv_rms[m], static_cast<T*>(args.y) + m * args.width);
  }
}

inline void rms_norm_backward(const RmsNormBackwardArgs& args, RowRange rows) {
  for (std::int64_t m = rows.first; m < rows.last; ++m) {
    const std::ptrdiff_t row = m * args.width;
    float* dx = args.dx + row;
    norm_row_backward(
        args.width, args.x + row, args.gain, args.inv_rms[m], args.dy + row,
        [&](std::ptrdiff_t i, auto lanes, Floats value) { store(load(dx + i, lanes) + value, dx + i, lanes); });
  }
}

}  // namespace tinylora::TINYLORA_ISA
