// Rows in front of a vocabulary: what the head and the sampling tests run.
#pragma once

#include "support.h"

namespace tinylora::test {

struct HeadCase {
  int rows, width, vocab;
  std::vector<float> x, w;
  std::vector<std::int32_t> target;
  std::vector<float> inv_temperature, d_logp;
};

/// Logits of about `size` before the temperature; temperatures 0.5 .. 2.
HeadCase make_head(int rows, int width, int vocab, double size = 3);

/// One row of width 2 whose logits are log(probabilities), repeated `rows` times.
HeadCase make_distribution(const std::vector<double>& probabilities, int rows);

struct HeadResult {
  std::vector<float> logp, entropy, lse;
};

/// Rows first .. first + rows - 1, scored alone.
HeadResult head(Backend& backend, const Weight& weight, const HeadCase& data, int first, int rows);

struct HeadGradient {
  HeadResult scores;
  std::vector<float> dx;
};
/// Rows first .. first + rows - 1, scored and then passed back.
HeadGradient head_backward(Backend& backend, const Weight& weight, const HeadCase& data, int first, int rows);
inline HeadGradient head_backward(Backend& backend, const Weight& weight, const HeadCase& data) {
  return head_backward(backend, weight, data, 0, data.rows);
}

struct Sampled {
  std::vector<std::int32_t> token;
  std::vector<float> logp, entropy;
};
/// `how` names the rows first, first + 1, ...
Sampled head_sample(Backend& backend, const Weight& weight, const HeadCase& data, const std::vector<SampleRow>& how,
                    int first = 0);

inline std::unique_ptr<Weight> pack(Backend& backend, const HeadCase& data) {
  return pack(backend, data.vocab, data.width, data.w);
}

}  // namespace tinylora::test
