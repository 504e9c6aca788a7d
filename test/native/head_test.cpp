// head and head_backward: against the reference, against finite differences, row invariance.
#include <array>
#include <cmath>

#include "head_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

struct Size {
  int rows, width, vocab;
};
const std::vector<Size> kSizes = {{0, 19, 7}, {1, 1, 1}, {40, 24, 5}, {1, 64, 989}, {19, 111, 2111}, {33, 192, 4099}};

void numerics(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  for (const Size& size : kSizes) {
    const HeadCase data = make_head(size.rows, size.width, size.vocab);
    const auto weight = pack(*backend, data), reference_weight = pack(*reference, data);
    const HeadResult got = head(*backend, *weight, data, 0, size.rows);
    const HeadResult want = head(*reference, *reference_weight, data, 0, size.rows);
    // Logits reach about 2 * 3 * 4; the sum of exponentials has positive terms, so its relative error walks at random.
    const double logit = summing(DType::f32, size.width, 6).absolute + 24 * 0x1.0p-23;
    const double of_sum = summing(DType::f32, size.vocab, 1).absolute;
    const Tolerance tolerance = {logit + of_sum, 0x1.0p-21};
    expect_near("logp", got.logp, want.logp, tolerance);
    expect_near("lse", got.lse, want.lse, tolerance);
    expect_near("entropy", got.entropy, want.entropy, {2 * logit + 24 * of_sum, 0x1.0p-21});
    // A bf16 backend may round softmax(l) to bf16 for its product: 2^-9 of each term, of random sign; fp16 2^-12 of it,
    // but no less than 2^-25.
    const double term = dtype == DType::f32 ? 0x1.0p-22 : dtype == DType::bf16 ? 0x1.0p-9 : 0x1.0p-12;
    expect_near("dx", head_backward(*backend, *weight, data).dx, head_backward(*reference, *reference_weight, data).dx,
                {8 * (term + logit) / std::sqrt(std::max(size.width, 1)) * 2, 0x1.0p-20});
  }
}

void gradient(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const HeadCase data = make_head(3, 37, 111, 1);
  const auto weight = pack(*backend, data);
  expect_gradient("dx", data.x, head_backward(*backend, *weight, data).dx, [&](const std::vector<float>& x) {
    HeadCase moved = data;
    moved.x = x;
    return weighted_sum(data.d_logp, head(*backend, *weight, moved, 0, data.rows).logp);
  });
}

/// Logits far from 0 and far apart, the largest in the last chunks: no overflow, and a target that is sure has logp 0
/// and entropy 0.
void extreme_logits(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  HeadCase data = make_head(3, 2, 1300, 1);
  std::fill(data.w.begin(), data.w.end(), -64.0F);
  data.w[2 * 1297] = data.w[2 * 1297 + 1] = 64.0F;
  data.x = {16.0F, 16.0F, -16.0F, -16.0F, 16.0F, 16.0F};  // logits +-2048
  data.inv_temperature = {1.0F, 1.0F, 0.5F};
  data.d_logp = {1.0F, 1.0F, 4.0F};
  data.target = {1297, 8, 8};
  const HeadGradient got = head_backward(*backend, *pack(*backend, data), data);
  const auto log1299 = static_cast<float>(std::log(1299.0));
  expect_near("logp", got.scores.logp, {0.0F, -log1299, -2048.0F}, {2048 * 0x1.0p-22, 0});
  expect_near("lse", got.scores.lse, {2048.0F, 2048.0F + log1299, 1024.0F}, {2048 * 0x1.0p-22, 0});
  expect_near("entropy", got.scores.entropy, {0.0F, log1299, 0.0F}, {2048 * 0x1.0p-20, 0});
  // The target's weights less those expected: 0 where it is sure or all are the same, else 4 * 0.5 * (-64 - 64). Of
  // 1299 equal terms of 64/1299 in bf16 the sum is as far from 64 as one of them may be.
  expect_near("dx", got.dx, {0.0F, 0.0F, 0.0F, 0.0F, -256.0F, -256.0F}, {64 * 0x1.0p-9, 0});
}

/// Logits of up to `largest`.
void expect_as_the_reference(const Candidate& candidate, DType dtype, const HeadCase& data, double largest) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  const HeadGradient got = head_backward(*backend, *pack(*backend, data), data);
  const HeadGradient want = head_backward(*reference, *pack(*reference, data), data);
  const double logit = summing(DType::f32, data.width, largest).absolute + largest * 0x1.0p-23;
  expect_near("logp", got.scores.logp, want.scores.logp, {2 * logit, 0x1.0p-21});
  const double term = dtype == DType::f32 ? 0x1.0p-22 : dtype == DType::bf16 ? 0x1.0p-9 : 0x1.0p-12;
  expect_near("dx", got.dx, want.dx, {8 * (term + logit), 0x1.0p-20});
}

/// Logits that rise or fall by 60 along the vocabulary, or have their top in the middle: whatever a backend has summed
/// up so far becomes nothing, or all, beside what comes.
void slopes(const Candidate& candidate, DType dtype) {
  HeadCase data = make_head(5, 24, 4400, 0.1);
  for (int token = 0; token < data.vocab; ++token) {
    const double place = double{2} * token / data.vocab - 1;
    data.w[token * data.width] = static_cast<float>(place);
    data.w[token * data.width + 1] = static_cast<float>(place * place);
  }
  for (int m = 0; m < data.rows; ++m) {
    data.x[m * data.width] = 30 * std::array{1.0F, -1.0F, 0.0F, 0.0F, 0.5F}[m];
    data.x[m * data.width + 1] = 60 * std::array{0.0F, 0.0F, 1.0F, -1.0F, 0.0F}[m];
  }
  data.inv_temperature = {1.0F, 1.0F, 1.0F, 1.0F, 2.0F};
  data.target = {4399, 3000, 0, 2200, 17};
  expect_as_the_reference(candidate, dtype, data, 60);
}

/// Logits that go up or down at once, by little or by more than a 16-bit type has room for, thousands of tokens from
/// the first: beside rows whose logits do not, in the middle of a chunk and between two.
void jumps(const Candidate& candidate, DType dtype) {
  HeadCase data = make_head(260, 8, 9300, 0.25);
  constexpr float kJumps[][2] = {{90, 0}, {-90, 0}, {9, 9}, {50, -50}, {-9, 14}, {30, 30}, {-20, 90}};
  for (int token = 0; token < data.vocab; ++token) {
    data.w[token * data.width] = token >= 5000 ? 1.0F : 0.0F;
    data.w[token * data.width + 1] = token >= 8960 ? 1.0F : 0.0F;
  }
  for (int m = 0; m < data.rows; ++m) {
    for (int i = 0; i < 2; ++i) data.x[m * data.width + i] = m < 40 ? 0 : kJumps[m % 7][i];
    data.target[m] = 131 * m % data.vocab;
    data.inv_temperature[m] = 1;
  }
  expect_as_the_reference(candidate, dtype, data, 90);
}

void invariance(const Candidate& candidate, DType dtype) {
  const HeadCase data = make_head(130, 111, 1111);
  const auto first = candidate.make(dtype, 1);
  const auto first_weight = pack(*first, data);
  const HeadResult all = head(*first, *first_weight, data, 0, data.rows);
  const std::vector<float> dx = head_backward(*first, *first_weight, data).dx;
  const std::vector<int> all_threads = thread_counts(candidate);
  const int step = all_threads.size() > 1 ? 4 : 1;
  for (const int threads : all_threads) {
    const auto backend = candidate.make(dtype, threads);
    const auto weight = pack(*backend, data);
    std::vector<int> counts = {1, 64, data.rows};
    for (int rows = threads; rows <= 33; rows += step) counts.push_back(rows);
    for (const int rows : counts) {
      const int start = rows * 29 % (data.rows - rows + 1);
      const HeadResult part = head(*backend, *weight, data, start, rows);
      expect_same_bits("logp", part.logp, rows_of(all.logp, start, rows, 1));
      expect_same_bits("entropy", part.entropy, rows_of(all.entropy, start, rows, 1));
      expect_same_bits("lse", part.lse, rows_of(all.lse, start, rows, 1));
    }
    for (const int rows : {1, 65}) {
      const int start = rows * 29 % (data.rows - rows + 1);
      expect_same_bits("dx of a part", head_backward(*backend, *weight, data, start, rows).dx,
                       rows_of(dx, start, rows, data.width));
    }
    const HeadGradient again = head_backward(*backend, *weight, data);
    expect_same_bits("logp before a backward pass", again.scores.logp, all.logp);
    expect_same_bits("entropy before a backward pass", again.scores.entropy, all.entropy);
    expect_same_bits("lse before a backward pass", again.scores.lse, all.lse);
    expect_same_bits("dx", again.dx, dx);
  }
}

/// More rows than a backend takes through the head at once: the last ones are as they are alone.
void many_rows(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const HeadCase data = make_head(2100, 900, 7);
  const int start = 2000, rows = data.rows - start;
  const auto weight = pack(*backend, data);
  const HeadGradient all = head_backward(*backend, *weight, data);
  const HeadGradient alone = head_backward(*backend, *weight, data, start, rows);
  expect_same_bits("logp", rows_of(all.scores.logp, start, rows, 1), alone.scores.logp);
  expect_same_bits("entropy", rows_of(all.scores.entropy, start, rows, 1), alone.scores.entropy);
  expect_same_bits("lse", rows_of(all.scores.lse, start, rows, 1), alone.scores.lse);
  expect_same_bits("dx", rows_of(all.dx, start, rows, data.width), alone.dx);
}

}  // namespace

void add_head_tests(Tests& tests) {
  add_for_each_backend(tests, "head: numerics", numerics);
  add_for_each_backend(tests, "head: gradient", gradient, {DType::f32});
  add_for_each_backend(tests, "head: extreme logits", extreme_logits);
  add_for_each_backend(tests, "head: slopes", slopes);
  add_for_each_backend(tests, "head: jumps", jumps);
  add_for_each_backend(tests, "head: invariance", invariance);
  add_for_each_backend(tests, "head: many rows", many_rows);
}

}  // namespace tinylora::test
