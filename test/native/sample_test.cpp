// head_sample: logp and entropy have the bits of head, draws follow the distribution, top_k, top_p and min_p keep what
// they should, the same draw as the reference.
#include <cmath>
#include <limits>
#include <map>

#include "head_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

/// Rows that sample in every way, greedy among them.
std::vector<SampleRow> many_ways(int rows) {
  std::vector<SampleRow> how;
  for (int m = 0; m < rows; ++m) {
    SampleRow row{
        .seed = 5, .sequence = static_cast<std::uint64_t>(m) << 30, .position = static_cast<std::uint32_t>(m)};
    const float temperatures[] = {1, 0.7F, 0, 1.3F};
    row.temperature = temperatures[m % 4];
    if (m % 3 == 1) row.top_k = 1 + m % 50;
    if (m % 5 >= 3) row.top_p = m % 5 == 3 ? 0.9F : 0.3F;
    if (m % 7 == 6) row.min_p = 0.05F;
    how.push_back(row);
  }
  return how;
}

/// The sampled token by the head op at the row's temperature.
HeadResult scored(Backend& backend, const Weight& weight, HeadCase data, const std::vector<SampleRow>& how,
                  const std::vector<std::int32_t>& token) {
  for (std::size_t m = 0; m < how.size(); ++m) {
    data.target[m] = token[m];
    data.inv_temperature[m] = how[m].temperature == 0 ? 1.0F : 1.0F / how[m].temperature;
  }
  return head(backend, weight, data, 0, data.rows);
}

void scores_are_those_of_the_head(const Candidate& candidate, DType dtype) {
  const HeadCase data = make_head(70, 111, 1111);
  const std::vector<SampleRow> how = many_ways(data.rows);
  const auto first = candidate.make(dtype, 1);
  const auto first_weight = pack(*first, data);
  const Sampled all = head_sample(*first, *first_weight, data, how);
  for (const auto token : all.token)
    expect(token >= 0 && token < data.vocab, "token ", token, " is not in the vocabulary");
  const HeadResult scores = scored(*first, *first_weight, data, how, all.token);
  expect_same_bits("logp", all.logp, scores.logp);
  expect_same_bits("entropy", all.entropy, scores.entropy);

  for (const int threads : kThreadCounts) {
    const auto backend = candidate.make(dtype, threads);
    const auto weight = pack(*backend, data);
    for (int rows = threads; rows <= data.rows; rows = rows * 2 + 1) {
      const int start = rows * 29 % (data.rows - rows + 1);
      const Sampled part = head_sample(*backend, *weight, data, rows_of(how, start, rows, 1), start);
      expect(part.token == rows_of(all.token, start, rows, 1), rows, " rows from ", start, " drew other tokens");
      expect_same_bits("logp", part.logp, rows_of(all.logp, start, rows, 1));
      expect_same_bits("entropy", part.entropy, rows_of(all.entropy, start, rows, 1));
    }
  }
}

/// More rows than the cpu backend takes through the head at once.
void many_rows(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const HeadCase data = make_head(1100, 5, 300);
  const std::vector<SampleRow> how = many_ways(data.rows);
  const auto weight = pack(*backend, data);
  const Sampled all = head_sample(*backend, *weight, data, how);
  const int start = 1000, rows = data.rows - start;
  const Sampled part = head_sample(*backend, *weight, data, rows_of(how, start, rows, 1), start);
  expect(part.token == rows_of(all.token, start, rows, 1), "the last rows drew other tokens");
  expect_same_bits("logp", part.logp, rows_of(all.logp, start, rows, 1));
  expect_same_bits("entropy", part.entropy, rows_of(all.entropy, start, rows, 1));
}

/// The same uniform picks the same token, unless it falls on a boundary between two: about 1e-5 of the draws.
void draws_as_the_reference(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  const HeadCase data = make_head(400, 64, 989);
  const std::vector<SampleRow> how = many_ways(data.rows);
  const Sampled got = head_sample(*backend, *pack(*backend, data), data, how);
  const Sampled want = head_sample(*reference, *pack(*reference, data), data, how);
  int others = 0;
  for (int m = 0; m < data.rows; ++m) others += got.token[m] != want.token[m];
  expect(others <= 1, others, " of ", data.rows, " tokens differ from the reference");
}

/// Chi-square of draws against probabilities (0: must not occur).
void expect_frequencies(const std::string& what, const std::vector<std::int32_t>& draws,
                        const std::vector<double>& probabilities) {
  std::vector<int> counts(probabilities.size());
  for (const auto token : draws) ++counts[token];
  double chi_square = 0;
  int freedom = -1;
  for (std::size_t token = 0; token < counts.size(); ++token) {
    const double expected = probabilities[token] * static_cast<double>(draws.size());
    expect(expected > 0 || counts[token] == 0, what, ": drew token ", token, ", which was cut off");
    if (expected == 0) continue;
    expect(counts[token] > 0, what, ": never drew token ", token);
    chi_square += (counts[token] - expected) * (counts[token] - expected) / expected;
    ++freedom;
  }
  // Mean `freedom`, variance 2 * freedom; 5 deviations. The seeds are fixed: this passes always or never.
  const double limit = freedom + 5 * std::sqrt(2.0 * freedom);
  expect(chi_square <= limit, what, ": chi-square ", chi_square, " with ", freedom, " degrees of freedom");
}

std::vector<std::int32_t> draws(const Candidate& candidate, DType dtype, const std::vector<double>& probabilities,
                                SampleRow how) {
  const HeadCase data = make_distribution(probabilities, 4000);
  std::vector<SampleRow> rows;
  for (int m = 0; m < data.rows; ++m) {
    how.seed = 11;
    how.sequence = static_cast<std::uint64_t>(m % 50);
    how.position = static_cast<std::uint32_t>(m / 50);
    rows.push_back(how);
  }
  const auto backend = candidate.make(dtype, 2);
  return head_sample(*backend, *pack(*backend, data), data, rows).token;
}

/// Probabilities of `kept` tokens alone, made to sum to 1; all of them to the power 1 / temperature.
std::vector<double> renormalised(std::vector<double> probabilities, const std::vector<int>& kept,
                                 double temperature = 1) {
  std::vector<double> result(probabilities.size());
  double sum = 0;
  for (const int token : kept) sum += result[token] = std::pow(probabilities[token], 1 / temperature);
  for (double& value : result) value /= sum;
  return result;
}

const std::vector<double> kFive = {0.1, 0.4, 0.05, 0.3, 0.15};

void frequencies(const Candidate& candidate, DType dtype) {
  const std::vector<int> all = {0, 1, 2, 3, 4};
  expect_frequencies("temperature 1", draws(candidate, dtype, kFive, {}), kFive);
  expect_frequencies("temperature 2", draws(candidate, dtype, kFive, {.temperature = 2}), renormalised(kFive, all, 2));
  std::vector<double> even(64, 1.0 / 64);
  expect_frequencies("uniform", draws(candidate, dtype, even, {}), even);
}

void supports(const Candidate& candidate, DType dtype) {
  const auto keeps = [&](const std::string& what, const SampleRow& how, const std::vector<int>& kept) {
    expect_frequencies(what, draws(candidate, dtype, kFive, how), renormalised(kFive, kept));
  };
  keeps("top_k 1", {.top_k = 1}, {1});
  keeps("top_k 3", {.top_k = 3}, {1, 3, 4});
  keeps("top_k 100", {.top_k = 100}, {0, 1, 2, 3, 4});
  keeps("top_p 0.3", {.top_p = 0.3F}, {1});
  keeps("top_p 0.6", {.top_p = 0.6F}, {1, 3});
  keeps("top_p 0.001", {.top_p = 0.001F}, {1});
  keeps("min_p 0.3", {.min_p = 0.3F}, {1, 3, 4});
  keeps("min_p 1", {.min_p = 1}, {1});
  // top_p sees what top_k left, renormalised: 0.4 / 0.7 is already 0.5 of it.
  keeps("top_k 2, top_p 0.5", {.top_k = 2, .top_p = 0.5F}, {1});
  keeps("top_p 0.9, min_p 0.5", {.top_p = 0.9F, .min_p = 0.5F}, {1, 3});
  // min_p sees the tempered distribution: at temperature 2 the ratios are square roots.
  expect_frequencies("temperature 2, min_p 0.55", draws(candidate, dtype, kFive, {.temperature = 2, .min_p = 0.55F}),
                     renormalised(kFive, {1, 3, 4}, 2));
}

/// Equal logits: greedy takes the lowest id; top_k keeps all that tie with the last one kept, as transformers does.
void ties(const Candidate& candidate, DType dtype) {
  const std::vector<double> tied = {0.1, 0.25, 0.15, 0.25, 0.25};
  expect_frequencies("greedy", draws(candidate, dtype, tied, {.temperature = 0}), renormalised(tied, {1}));
  expect_frequencies("top_k 2", draws(candidate, dtype, tied, {.top_k = 2}), renormalised(tied, {1, 3, 4}));
  // The likeliest come first, lower ids first among equals: 0.25 + 0.25 reach 0.4.
  expect_frequencies("top_p 0.4", draws(candidate, dtype, tied, {.top_p = 0.4F}), renormalised(tied, {1, 3}));
  // Two of four hold exactly 0.5: the third is not kept.
  const std::vector<double> equal(4, 0.25);
  expect_frequencies("top_p 0.5", draws(candidate, dtype, equal, {.top_p = 0.5F}), renormalised(equal, {0, 1}));
}

/// A row whose logits are NaN or infinite has no token; its neighbours draw as ever.
void rows_without_finite_logits(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  HeadCase data = make_head(9, 64, 300);
  const std::vector<SampleRow> how = many_ways(data.rows);
  const auto weight = pack(*backend, data);
  const Sampled whole = head_sample(*backend, *weight, data, how);
  for (const int bad : {2, 4, 6}) {  // greedy, cut, and neither
    data.x[static_cast<std::size_t>(bad * data.width + 3)] =
        bad == 4 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  }
  const Sampled got = head_sample(*backend, *weight, data, how);
  for (int m = 0; m < data.rows; ++m) {
    const bool bad = m == 2 || m == 4 || m == 6;
    expect(got.token[m] == (bad ? -1 : whole.token[m]), "row ", m, ": token ", got.token[m]);
    expect(bad == std::isnan(got.logp[m]), "row ", m, ": logp ", got.logp[m]);
    expect(bad == std::isnan(got.entropy[m]), "row ", m, ": entropy ", got.entropy[m]);
    if (!bad) expect_same_bits("logp", {got.logp[m]}, {whole.logp[m]});
  }
}

/// One NaN among finite logits, wherever it stands, is enough.
void one_logit_that_is_nan(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const int place : {0, 7, 100, 299, 300, 400}) {
    HeadCase data = make_head(5, 8, 401);
    data.w[static_cast<std::size_t>(place * data.width)] = std::numeric_limits<float>::quiet_NaN();
    const Sampled got = head_sample(*backend, *pack(*backend, data), data, many_ways(data.rows));
    for (int m = 0; m < data.rows; ++m) {
      expect(got.token[m] == -1 && std::isnan(got.logp[m]), "NaN at ", place, ", row ", m, ": token ", got.token[m]);
    }
  }
}

}  // namespace

void add_sample_tests(Tests& tests) {
  // The draw sees float logits: one 16-bit type stands for both.
  const std::vector<DType> types = {DType::f32, DType::bf16};
  add_for_each_backend(tests, "head_sample: scores are those of the head", scores_are_those_of_the_head);
  add_for_all_but_cuda(tests, "head_sample: many rows", many_rows);
  add_for_each_backend(tests, "head_sample: draws as the reference", draws_as_the_reference);
  add_for_each_backend(tests, "head_sample: frequencies", frequencies, types);
  add_for_each_backend(tests, "head_sample: supports", supports, types);
  add_for_each_backend(tests, "head_sample: ties", ties, types);
  add_for_each_backend(tests, "head_sample: rows without finite logits", rows_without_finite_logits);
  add_for_each_backend(tests, "head_sample: one logit that is NaN", one_logit_that_is_nan);
}

}  // namespace tinylora::test
