#include "head_case.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace tinylora::test {

HeadCase make_head(int rows, int width, int vocab, double size) {
  Random random(static_cast<std::uint64_t>(rows * 31 + width * 17 + vocab));
  HeadCase data{.rows = rows,
                .width = width,
                .vocab = vocab,
                .x = random.normals(static_cast<std::size_t>(rows * width), size),
                .w = random.normals(static_cast<std::size_t>(vocab * width), 1 / std::sqrt(static_cast<double>(width))),
                .target = {},
                .inv_temperature = {},
                .d_logp = random.normals(static_cast<std::size_t>(rows))};
  for (int m = 0; m < rows; ++m) {
    data.target.push_back(m == 0 ? vocab - 1 : random.below(vocab));
    data.inv_temperature.push_back(m % 3 == 0 ? 1.0F : static_cast<float>(1 / (0.5 + 1.5 * random.uniform())));
  }
  return data;
}

HeadCase make_distribution(const std::vector<double>& probabilities, int rows) {
  const int vocab = static_cast<int>(probabilities.size());
  HeadCase data = make_head(rows, 2, vocab);
  std::fill(data.x.begin(), data.x.end(), 1.0F);
  for (int token = 0; token < vocab; ++token) {
    // Two terms, so that bf16 keeps 16 bits of the logarithm.
    const double logit = std::log(probabilities[token]);
    const float high = to_float(to_bf16(static_cast<float>(logit)));
    data.w[2 * token] = high;
    data.w[2 * token + 1] = static_cast<float>(logit - double{high});
  }
  return data;
}

namespace {

/// Some rows in the backend's memory, and room for what head says of them.
struct Scoring {
  Scoring(Backend& backend, const HeadCase& data, int first, int count)
      : rows(count),
        x(backend, rows_of(data.x, first, rows, data.width)),
        target(backend, rows_of(data.target, first, rows, 1)),
        inv_temperature(backend, rows_of(data.inv_temperature, first, rows, 1)),
        logp(backend, static_cast<std::size_t>(rows)),
        entropy(backend, static_cast<std::size_t>(rows)),
        lse(backend, static_cast<std::size_t>(rows)) {}

  HeadResult run(Backend& backend, const Weight& weight, float* dx = nullptr) const {
    backend.head({.rows = rows,
                  .x = x.data(),
                  .weight = &weight,
                  .target = target.data(),
                  .inv_temperature = inv_temperature.data(),
                  .logp = logp.data(),
                  .entropy = entropy.data(),
                  .lse = lse.data(),
                  .dx = dx});
    return {logp.read(), entropy.read(), lse.read()};
  }

  const int rows;
  const ActBuffer x;
  const Buffer<std::int32_t> target;
  const Buffer<float> inv_temperature, logp, entropy, lse;
};

}  // namespace

HeadResult head(Backend& backend, const Weight& weight, const HeadCase& data, int first, int rows) {
  return Scoring(backend, data, first, rows).run(backend, weight);
}

HeadGradient head_backward(Backend& backend, const Weight& weight, const HeadCase& data, int first, int rows) {
  const Scoring scoring(backend, data, first, rows);
  const Buffer<float> d_logp(backend, rows_of(data.d_logp, first, rows, 1));
  const Buffer<float> dx(backend, static_cast<std::size_t>(rows * data.width));
  const HeadResult scores = scoring.run(backend, weight, dx.data());
  backend.head_backward({.rows = rows,
                         .x = scoring.x.data(),
                         .weight = &weight,
                         .target = scoring.target.data(),
                         .inv_temperature = scoring.inv_temperature.data(),
                         .lse = scoring.lse.data(),
                         .d_logp = d_logp.data(),
                         .dx = dx.data()});
  return {scores, dx.read()};
}

Sampled head_sample(Backend& backend, const Weight& weight, const HeadCase& data, const std::vector<SampleRow>& how,
                    int first) {
  const int rows = static_cast<int>(how.size());
  const ActBuffer x(backend, rows_of(data.x, first, rows, data.width));
  const Buffer<SampleRow> ways(backend, how);
  const Buffer<std::int32_t> token(backend, how.size(), -1);
  const Buffer<float> logp(backend, how.size()), entropy(backend, how.size());
  backend.head_sample({.rows = rows,
                       .x = x.data(),
                       .weight = &weight,
                       .how = ways.data(),
                       .cut = static_cast<int>(std::count_if(how.begin(), how.end(), std::mem_fn(&SampleRow::is_cut))),
                       .token = token.data(),
                       .logp = logp.data(),
                       .entropy = entropy.data()});
  return {token.read(), logp.read(), entropy.read()};
}

}  // namespace tinylora::test
