// The meaning of the ops, computed another way in double: a product with its update is a product with W + B R A; a
// group with a shared prompt is each completion on its own behind a copy of the prompt; rotation is multiplication by a
// complex number. fp32 alone: what bf16 adds is rounding, which the numerics tests bound.
#include <cmath>
#include <complex>

#include "head_case.h"
#include "layout.h"
#include "linear_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

const Tolerance kClose = {2e-5, 1e-5};

/// (W + B R_k A)[o, i] of the case; R = 0 for adapter -1.
double merged(const LinearCase& data, int adapter, int o, int i) {
  const LinearShape& shape = data.shape;
  double sum = double{data.w[o * shape.in + i]};
  if (adapter < 0) return sum;
  for (int p = 0; p < shape.rank; ++p) {
    for (int q = 0; q < shape.rank; ++q) {
      sum += double{data.b[p * shape.out + o]} * double{data.r[(adapter * shape.rank + p) * shape.rank + q]} *
             double{data.a[q * shape.in + i]};
    }
  }
  return sum;
}

void product_with_merged_weight(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const LinearCase data =
      make_linear({.rows = 7, .in = 19, .out = 23, .rank = 3, .bias = true, .y_float = true, .add = true});
  std::vector<float> y = data.y, dx = data.dx;
  for (int m = 0; m < data.shape.rows; ++m) {
    for (int o = 0; o < data.shape.out; ++o) {
      double sum = double{data.bias[o]};
      for (int i = 0; i < data.shape.in; ++i) {
        const double weight = merged(data, data.adapter[m], o, i);
        sum += double{data.x[m * data.shape.in + i]} * weight;
        dx[m * data.shape.in + i] += static_cast<float>(double{data.dy[m * data.shape.out + o]} * weight);
      }
      y[m * data.shape.out + o] += static_cast<float>(sum);
    }
  }
  const LinearResult got = linear(*backend, data);
  expect_near("y", got.y, y, kClose);
  expect_near("dx", linear_backward(*backend, *pack(*backend, data), data, got.z).dx, dx, kClose);
}

using Complex = std::complex<double>;

/// rope(norm(x)) of one head at a position, as D / 2 complex numbers.
std::vector<Complex> turned(const AttentionCase& data, const std::vector<float>& x, std::size_t first, int position,
                            const std::vector<float>& gain) {
  const int half = data.shape.head_dim / 2;
  double squares = 0;
  for (int i = 0; i < 2 * half; ++i) squares += double{x[first + i]} * double{x[first + i]};
  const double norm = data.shape.gains ? 1 / std::sqrt(squares / (2 * half) + 1e-5) : 1;
  std::vector<Complex> y;
  for (int i = 0; i < half; ++i) {
    const double low = data.shape.gains ? double{gain[i]} : 1, high = data.shape.gains ? double{gain[i + half]} : 1;
    const Complex value(double{x[first + i]} * norm * low, double{x[first + half + i]} * norm * high);
    y.push_back(value * Complex(double{data.cos[position * half + i]}, double{data.sin[position * half + i]}));
  }
  return y;
}

/// Attention of row m over `rows`, the rows of its own sequence from position 0 to its own.
std::vector<float> attend_over(const AttentionCase& data, int m, const std::vector<int>& rows) {
  const AttentionShape& shape = data.shape;
  std::vector<float> out;
  for (int h = 0; h < shape.heads; ++h) {
    const int kv_head = h * shape.kv_heads / shape.heads;
    const auto q =
        turned(data, data.q, std::size_t(m * shape.heads + h) * shape.head_dim, data.layout.position[m], data.q_gain);
    std::vector<double> value(static_cast<std::size_t>(shape.head_dim));
    double total = 0;
    for (const int t : rows) {
      const std::size_t first = std::size_t(t * shape.kv_heads + kv_head) * shape.head_dim;
      const auto k = turned(data, data.k, first, data.layout.position[t], data.k_gain);
      double score = 0;
      for (std::size_t i = 0; i < q.size(); ++i) score += (q[i] * std::conj(k[i])).real();
      const double weight = std::exp(score / std::sqrt(static_cast<double>(shape.head_dim)));
      total += weight;
      for (int i = 0; i < shape.head_dim; ++i) value[i] += weight * double{data.v[first + i]};
    }
    for (const double sum : value) out.push_back(static_cast<float>(sum / total));
  }
  return out;
}

void group_is_each_sequence_alone(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const bool gains : {false, true}) {
    for (const int prompt : {5, 32, 45}) {
      Layout layout;
      layout.add_span(take_pages(layout, 1), 0, 3);  // the prompt is not the first span
      const std::vector<int> completions = add_group(layout, prompt, {1, 30, 4});
      const AttentionCase data = make_attention({.heads = 6, .kv_heads = 2, .head_dim = 8, .gains = gains}, layout);
      const AttentionResult got = attend(*backend, data);

      std::vector<int> prompt_rows;
      for (int row = 3; row < 3 + prompt; ++row) prompt_rows.push_back(row);
      const auto expect_span = [&](std::vector<int> context, int first, int rows) {
        for (int row = first; row < first + rows; ++row) {
          context.push_back(row);
          expect_near("out of row " + std::to_string(row), rows_of(got.out, row, 1, 48),
                      attend_over(data, row, context), kClose);
        }
      };
      expect_span({}, 3, prompt);
      expect_span(prompt_rows, completions[0], 1);
      expect_span(prompt_rows, completions[1], 30);
      expect_span(prompt_rows, completions[2], 4);
    }
  }
}

void norm_swiglu_head(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const std::vector<float> x = {3, 4}, gain = {1, -2};
  const Buffer<float> in(*backend, x), gains(*backend, gain), inv_rms(*backend, 1);
  const ActBuffer y(*backend, 2);
  backend->rms_norm({.rows = 1,
                     .width = 2,
                     .epsilon = 12.5F,
                     .x = in.data(),
                     .gain = gains.data(),
                     .y = y.data(),
                     .inv_rms = inv_rms.data()});
  expect_near("rms_norm", y.read(), {0.6F, -1.6F}, kClose);  // mean square 12.5, with epsilon 25

  const ActBuffer gate(*backend, {std::log(3.0F), 0.0F}), up(*backend, {2.0F, 5.0F}), h(*backend, 2);
  backend->swiglu({.rows = 1, .width = 2, .gate = gate.data(), .up = up.data(), .h = h.data()});
  expect_near("swiglu", h.read(), {1.5F * std::log(3.0F), 0.0F}, kClose);  // sigmoid(log 3) = 3 / 4

  HeadCase data = make_distribution({0.5, 0.25, 0.25}, 1);
  data.target = {2};
  data.inv_temperature = {1};
  const HeadResult one = head(*backend, *pack(*backend, data), data, 0, 1);
  expect_near("logp", one.logp, {std::log(0.25F)}, kClose);
  expect_near("entropy", one.entropy, {1.5F * std::log(2.0F)}, kClose);
  data.inv_temperature = {0.5F};  // square roots: 0.7071, 0.5, 0.5
  const HeadResult warm = head(*backend, *pack(*backend, data), data, 0, 1);
  expect_near("logp at temperature 2", warm.logp, {std::log(0.5F / (1 + std::sqrt(0.5F)))}, kClose);
}

}  // namespace

void add_formula_tests(Tests& tests) {
  add_for_each_backend(tests, "formula: merged weight", product_with_merged_weight, {DType::f32});
  add_for_each_backend(tests, "formula: a group is each sequence alone", group_is_each_sequence_alone, {DType::f32});
  add_for_each_backend(tests, "formula: norm, swiglu, head", norm_swiglu_head, {DType::f32});
}

}  // namespace tinylora::test
