// head_sample: one token a row from softmax(l), l = x W^T / temperature.
//   top_k   keeps the k likeliest tokens, and those tied with the last of them
//   top_p   keeps tokens from the likeliest down (ties: lower id first) until those before reach top_p of what is left
//   min_p   keeps tokens at least min_p times as likely as the likeliest
//   draw    the first kept token, in order of id, whose running sum of probability passes uniform * (sum of all kept)
//   greedy  (temperature 0) the likeliest token, the lowest id among equals
// logp and entropy are those of the whole distribution, before top_k, top_p and min_p.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/philox.h"
#include "reference/reference.h"

namespace tinylora::reference {
namespace {

/// p = exp(l - max l) of the kept tokens, 0 of the others.
std::vector<double> kept_weights(const std::vector<double>& logits, const SampleRow& how) {
  std::vector<int> order(logits.size());  // likeliest first
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  const double top = logits[order[0]];
  const auto weight = [&](int token) { return std::exp(logits[token] - top); };

  std::size_t kept = order.size();
  if (how.top_k > 0 && static_cast<std::size_t>(how.top_k) < kept) {
    kept = static_cast<std::size_t>(how.top_k);
    while (kept < order.size() && logits[order[kept]] == logits[order[kept - 1]]) ++kept;
  }

  if (how.top_p < 1) {
    double total = 0;
    for (std::size_t i = 0; i < kept; ++i) total += weight(order[i]);
    double before = 0;
    for (std::size_t i = 0; i < kept; ++i) {
      if (i > 0 && before >= double{how.top_p} * total) kept = i;
      before += weight(order[i]);
    }
  }

  std::vector<double> weights(logits.size());
  for (std::size_t i = 0; i < kept; ++i) {
    if (i == 0 || weight(order[i]) >= double{how.min_p}) weights[order[i]] = weight(order[i]);
  }
  return weights;
}

std::int32_t draw(const std::vector<double>& weights, double uniform) {
  const double goal = uniform * std::accumulate(weights.begin(), weights.end(), 0.0);
  double sum = 0;
  std::int32_t last = 0;
  for (std::size_t token = 0; token < weights.size(); ++token) {
    if (weights[token] == 0) continue;
    last = static_cast<std::int32_t>(token);
    sum += weights[token];
    if (sum > goal) break;
  }
  return last;
}

}  // namespace

void head_sample(DType dtype, const HeadSampleArgs& args) {
  const PlainWeight& weight = plain(args.weight);
  const ActIn x(dtype, args.x);
  for (int m = 0; m < args.rows; ++m) {
    const SampleRow& how = args.how[m];
    const bool greedy = how.temperature == 0;
    const auto logits = row_logits(x.read(at(m, weight.in), weight.in), weight, greedy ? 1 : 1 / how.temperature);
    const double lse = log_sum_exp(logits);
    if (!std::isfinite(lse)) {
      args.token[m] = -1;
      args.logp[m] = args.entropy[m] = std::numeric_limits<float>::quiet_NaN();
      continue;
    }
    const auto token = greedy
                           ? static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())
                           : draw(kept_weights(logits, how), sampling_uniform(how.seed, how.sequence, how.position));
    args.token[m] = token;
    args.logp[m] = static_cast<float>(logits[token] - lse);
    args.entropy[m] = entropy(logits, lse);
  }
}

}  // namespace tinylora::reference
