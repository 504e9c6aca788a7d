// rms_norm           y = x * inv_rms * gain,  inv_rms = 1 / sqrt(mean(x^2) + epsilon)
// rms_norm_backward  dx += inv_rms * (g - x * inv_rms^2 * mean(g * x)),  g = dy * gain
#include <cmath>

#include "reference/reference.h"

namespace tinylora::reference {

float inverse_rms(const float* x, int width, float epsilon) {
  return static_cast<float>(1 / std::sqrt(dot(x, x, width) / width + double{epsilon}));
}

std::vector<double> norm_gradient(const float* x, const float* gain, float inv_rms, const double* dy, int width) {
  double mean = 0;
  for (int i = 0; i < width; ++i) mean += dy[i] * double{gain[i]} * double{x[i]};
  mean /= width;

  const double inv = inv_rms;
  std::vector<double> dx(static_cast<std::size_t>(width));
  for (int i = 0; i < width; ++i) {
    dx[i] = inv * (dy[i] * double{gain[i]} - double{x[i]} * inv * inv * mean);
  }
  return dx;
}

void rms_norm(DType dtype, const RmsNormArgs& args) {
  const ActOut y(dtype, args.y);
  for (int m = 0; m < args.rows; ++m) {
    const float* x = args.x + at(m, args.width);
    const float inv = inverse_rms(x, args.width, args.epsilon);
    args.inv_rms[m] = inv;
    for (int i = 0; i < args.width; ++i) {
      y.set(at(m, args.width) + i, double{x[i]} * double{inv} * double{args.gain[i]});
    }
  }
}

void rms_norm_backward(const RmsNormBackwardArgs& args) {
  for (int m = 0; m < args.rows; ++m) {
    const std::size_t row = at(m, args.width);
    const std::vector<double> dy(args.dy + row, args.dy + row + args.width);
    const std::vector<double> dx = norm_gradient(args.x + row, args.gain, args.inv_rms[m], dy.data(), args.width);
    for (int i = 0; i < args.width; ++i) args.dx[row + i] = static_cast<float>(double{args.dx[row + i]} + dx[i]);
  }
}

}  // namespace tinylora::reference
