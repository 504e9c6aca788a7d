// head           l = x W^T * inv_temperature,  lse = log sum exp l,  logp = l[target] - lse,
//                entropy = lse - sum softmax(l) l
// head_backward  dx = d_logp * inv_temperature * (W[target] - softmax(l) W)
#include <algorithm>
#include <cmath>

#include "reference/reference.h"

namespace tinylora::reference {

std::vector<double> row_logits(const std::vector<float>& x, const PlainWeight& weight, float inv_temperature) {
  std::vector<double> logits(static_cast<std::size_t>(weight.out));
  for (int o = 0; o < weight.out; ++o) {
    logits[o] = dot(x.data(), weight.row(o), weight.in) * double{inv_temperature};
  }
  return logits;
}

double log_sum_exp(const std::vector<double>& values) {
  const double top = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const double value : values) sum += std::exp(value - top);
  return top + std::log(sum);
}

float entropy(const std::vector<double>& logits, double lse) {
  double mean = 0;
  for (const double l : logits) mean += std::exp(l - lse) * l;
  return static_cast<float>(lse - mean);
}

void head(DType dtype, const HeadArgs& args) {
  const PlainWeight& weight = plain(args.weight);
  const ActIn x(dtype, args.x);
  for (int m = 0; m < args.rows; ++m) {
    const auto logits = row_logits(x.read(at(m, weight.in), weight.in), weight, args.inv_temperature[m]);
    const double lse = log_sum_exp(logits);
    args.logp[m] = static_cast<float>(logits[args.target[m]] - lse);
    args.entropy[m] = entropy(logits, lse);
    args.lse[m] = static_cast<float>(lse);
  }
}

void head_backward(DType dtype, const HeadBackwardArgs& args) {
  const PlainWeight& weight = plain(args.weight);
  const ActIn x(dtype, args.x);
  for (int m = 0; m < args.rows; ++m) {
    const auto logits = row_logits(x.read(at(m, weight.in), weight.in), weight, args.inv_temperature[m]);
    const double factor = double{args.d_logp[m]} * double{args.inv_temperature[m]};
    std::vector<double> dx(static_cast<std::size_t>(weight.in));
    for (int o = 0; o < weight.out; ++o) {
      const double d_logit = factor * ((o == args.target[m] ? 1 : 0) - std::exp(logits[o] - double{args.lse[m]}));
      const float* row = weight.row(o);
      for (int i = 0; i < weight.in; ++i) dx[i] += d_logit * double{row[i]};
    }
    std::copy(dx.begin(), dx.end(), args.dx + at(m, weight.in));
  }
}

}  // namespace tinylora::reference
