// P: known answers that must never change, and the distributions.
#include <cmath>

#include "engine/inverse_normal.h"
#include "engine/projection.h"
#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

/// An adapter that was saved without P depends on these numbers for ever.
void known_answers() {
  const auto known = [](const char* name, Distribution distribution, const std::vector<float>& want) {
    expect_same_bits(name, projection(42, 7, 2, 2, distribution), want);
  };
  known("normal", Distribution::normal,
        {0.982095301F, 0.636451185F, 0.49157384F, -0.0833886117F, -0.0577833503F, 0.803296745F, -0.591744542F,
         -1.03309178F});
  known("uniform", Distribution::uniform,
        {1.02282679F, 0.773942292F, 0.62837249F, -0.114974551F, -0.0797664523F, 0.911280394F, -0.731570601F,
         -1.0483669F});
  known("orthogonal", Distribution::orthogonal,
        {0.839188874F, 0.543840051F, 0.543840051F, -0.839188874F, -0.0717473775F, 0.997422814F, -0.997422814F,
         -0.0717473775F});
  expect_same_bits("unit", projection(42, 7, 4, 2, Distribution::unit),
                   {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
}

/// Quantiles from a 50-digit computation.
void quantiles() {
  const std::pair<double, double> known[] = {
      {1e-300, -37.0470962993612}, {1e-17, -8.493793224109599},
      {1e-10, -6.361340902404056}, {1e-5, -4.264890793922825},
      {0.01, -2.3263478740408408}, {0.074, -1.4466320671589785},
      {0.3, -0.5244005127080409},  {0.5, 0},
      {0.99, 2.3263478740408408},
  };
  for (const auto& [p, want] : known) {
    const double error = std::abs(inverse_normal(p) - want);
    expect(error <= 1e-15 * std::abs(want), "quantile of ", p, " is off by ", error);
  }
  for (double x = 1e-300; x < 1e300; x *= 1.7) {
    const double error = std::abs(portable_log(x) - std::log(x));
    expect(error <= 4e-16 * std::max(1.0, std::abs(std::log(x))), "log of ", x, " is off by ", error);
  }
}

void moments() {
  for (const Distribution distribution : {Distribution::normal, Distribution::uniform, Distribution::orthogonal}) {
    for (const int rank : {1, 2, 4}) {
      const std::vector<float> p = projection(1, 3, 4096, rank, distribution);
      double sum = 0, square = 0;
      for (const float value : p) {
        sum += double{value};
        square += double{value} * double{value};
      }
      const auto count = static_cast<double>(p.size());
      expect(std::abs(sum / count) < 0.05, "mean ", sum / count);
      expect(std::abs(square / count * rank - 1) < 0.05, "variance ", square / count, " for rank ", rank);
    }
  }
}

void orthogonal_matrices() {
  const int rank = 16;
  const std::vector<float> p = projection(9, 1, 3, rank, Distribution::orthogonal);
  for (int matrix = 0; matrix < 3; ++matrix) {
    for (int i = 0; i < rank; ++i) {
      for (int j = 0; j < rank; ++j) {
        double dot = 0;
        for (int k = 0; k < rank; ++k) {
          dot += double{p[static_cast<std::size_t>((matrix * rank + i) * rank + k)]} *
                 double{p[static_cast<std::size_t>((matrix * rank + j) * rank + k)]};
        }
        expect(std::abs(dot - (i == j ? 1 : 0)) < 1e-6, "rows ", i, " and ", j, ": product ", dot);
      }
    }
  }
}

void every_part_of_the_key_counts() {
  const auto p = projection(1, 0, 2, 2, Distribution::normal);
  expect(projection(2, 0, 2, 2, Distribution::normal) != p, "the seed has no part");
  expect(projection(1ULL << 40, 0, 2, 2, Distribution::normal) != projection(0, 0, 2, 2, Distribution::normal),
         "the upper half of the seed has no part");
  expect(projection(1, 1, 2, 2, Distribution::normal) != p, "the module has no part");
  const auto longer = projection(1, 0, 5, 2, Distribution::normal);
  expect(std::equal(p.begin(), p.end(), longer.begin()), "more matrices change the first ones");
}

void refuses() {
  expect_error("ERR_ARGUMENT", "rank", [] { projection(1, 0, 1, 17, Distribution::normal); });
  expect_error("ERR_ARGUMENT", "u", [] { projection(1, 0, 0, 2, Distribution::normal); });
  expect_error("ERR_ARGUMENT", "expected 4 unit matrices", [] { projection(1, 0, 3, 2, Distribution::unit); });
  expect_error("ERR_ARGUMENT", "expected 4 unit matrices", [] { projection(1, 0, 5, 2, Distribution::unit); });
}

}  // namespace

void add_engine_projection_tests(Tests& tests) {
  tests.add("projection: known answers", known_answers);
  tests.add("projection: quantiles and logarithm", quantiles);
  tests.add("projection: moments", moments);
  tests.add("projection: orthogonal", orthogonal_matrices);
  tests.add("projection: seed and module", every_part_of_the_key_counts);
  tests.add("projection: refuses", refuses);
}

}  // namespace tinylora::test
