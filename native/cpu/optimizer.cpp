// sum_squares, adamw and sgd, some elements at a time. Element by element nothing depends on the number of threads; the
// squares are summed in chunks that do not depend on it either.
#include <cmath>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/ranges.h"

namespace tinylora {

void CpuBackend::sum_squares(const SumSquaresArgs& args) {
  constexpr std::int64_t kChunk = 4096;
  std::vector<double> sums(std::size_t((args.count + kChunk - 1) / kChunk));
  for_ranges(pool_, args.count, kChunk, [&](RowRange elements) {
    double sum = 0;
    for (std::int64_t i = elements.first; i < elements.last; ++i) {
      sum += static_cast<double>(args.x[i]) * static_cast<double>(args.x[i]);
    }
    sums[std::size_t(elements.first / kChunk)] = sum;
  });
  *args.sum = 0;
  for (const double sum : sums) *args.sum += sum;
}

void CpuBackend::adamw(const AdamwArgs& args) {
  const float keep = 1 - args.rate * args.decay;
  for_ranges(pool_, args.count, kElementsAtOnce, [&](RowRange elements) {
    for (std::int64_t i = elements.first; i < elements.last; ++i) {
      const float g = args.gradient[i] * args.scale;
      const float first = args.beta1 * args.first[i] + (1 - args.beta1) * g;
      const float second = args.beta2 * args.second[i] + (1 - args.beta2) * g * g;
      args.first[i] = first;
      args.second[i] = second;
      const float step = first / args.correction1 / (std::sqrt(second / args.correction2) + args.epsilon);
      args.weight[i] = args.weight[i] * keep - args.rate * step;
    }
  });
}

void CpuBackend::sgd(const SgdArgs& args) {
  const float keep = 1 - args.rate * args.decay;
  for_ranges(pool_, args.count, kElementsAtOnce, [&](RowRange elements) {
    for (std::int64_t i = elements.first; i < elements.last; ++i) {
      args.buffer[i] = args.momentum * args.buffer[i] + args.gradient[i] * args.scale;
      args.weight[i] = args.weight[i] * keep - args.rate * args.buffer[i];
    }
  });
}

}  // namespace tinylora
