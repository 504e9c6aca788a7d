// sum_squares  sum x^2
// adamw        w = w (1 - rate decay) - rate (first / correction1) / (sqrt(second / correction2) + epsilon)
// sgd          w = w (1 - rate decay) - rate buffer
#include <algorithm>
#include <cmath>

#include "reference/reference.h"

namespace tinylora::reference {

void sum_squares(const SumSquaresArgs& args) {
  *args.sum = 0;
  for (std::int64_t first = 0; first < args.count; first += 4096) {
    double sum = 0;
    for (std::int64_t i = first; i < std::min(first + 4096, args.count); ++i) sum += double{args.x[i]} * args.x[i];
    *args.sum += sum;
  }
}

void adamw(const AdamwArgs& args) {
  for (std::int64_t i = 0; i < args.count; ++i) {
    const double g = double{args.gradient[i]} * args.scale;
    const double first = args.beta1 * double{args.first[i]} + (1 - double{args.beta1}) * g;
    const double second = args.beta2 * double{args.second[i]} + (1 - double{args.beta2}) * g * g;
    args.first[i] = static_cast<float>(first);
    args.second[i] = static_cast<float>(second);
    const double step = first / args.correction1 / (std::sqrt(second / args.correction2) + args.epsilon);
    args.weight[i] = static_cast<float>(args.weight[i] * (1 - double{args.rate} * args.decay) - args.rate * step);
  }
}

void sgd(const SgdArgs& args) {
  for (std::int64_t i = 0; i < args.count; ++i) {
    const double buffer = args.momentum * double{args.buffer[i]} + double{args.gradient[i]} * args.scale;
    args.buffer[i] = static_cast<float>(buffer);
    args.weight[i] = static_cast<float>(args.weight[i] * (1 - double{args.rate} * args.decay) - args.rate * buffer);
  }
}

}  // namespace tinylora::reference
