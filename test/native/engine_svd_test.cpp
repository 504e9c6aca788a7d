// Truncated SVD: against the matrix itself, awkward and degenerate shapes, the same bits for any threads and
// instructions.
#include <cmath>

#include "engine/svd.h"
#include "engine/svd_loops.h"
#include "engine/symmetric_eigen.h"
#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

struct Plain {
  int out, in;
  std::vector<float> values;  // [out, in]
};

Plain random_matrix(int out, int in, std::uint64_t seed) {
  Plain matrix{out, in, std::vector<float>(static_cast<std::size_t>(out * in))};
  for (std::size_t i = 0; i < matrix.values.size(); ++i) {
    const PhiloxBlock block = philox(seed, {static_cast<std::uint32_t>(i), 0, 0, 0});
    matrix.values[i] = static_cast<float>(philox_uniform(block[0], block[1]) - 0.5);
  }
  return matrix;
}

Svd svd_of(const Plain& matrix, int rank, int threads = 2) {
  ThreadPool pool(threads);
  const std::atomic<bool> abort = false;
  const auto rows = [&](int row, float* values) {
    std::copy_n(matrix.values.data() + static_cast<std::ptrdiff_t>(row) * matrix.in, matrix.in, values);
  };
  return truncated_svd(matrix.out, matrix.in, rows, rank, pool, abort);
}

double at(const std::vector<float>& values, int index) { return values[static_cast<std::size_t>(index)]; }

/// Largest difference of |W v - s u| and |W^T u - s v| from 0: singular triplets, if not the largest ones.
double triplet_error(const Plain& matrix, const Svd& svd, int rank) {
  double worst = 0;
  for (int i = 0; i < rank; ++i) {
    for (int row = 0; row < matrix.out; ++row) {
      double sum = -at(svd.s, i) * at(svd.u, row * rank + i);
      for (int j = 0; j < matrix.in; ++j) sum += at(matrix.values, row * matrix.in + j) * at(svd.vt, i * matrix.in + j);
      worst = std::max(worst, std::abs(sum));
    }
    for (int j = 0; j < matrix.in; ++j) {
      double sum = -at(svd.s, i) * at(svd.vt, i * matrix.in + j);
      for (int row = 0; row < matrix.out; ++row)
        sum += at(matrix.values, row * matrix.in + j) * at(svd.u, row * rank + i);
      worst = std::max(worst, std::abs(sum));
    }
  }
  return worst;
}

/// All singular values, from the eigenvalues of W^T W.
std::vector<double> singular_values(const Plain& matrix) {
  std::vector<double> gram(static_cast<std::size_t>(matrix.in * matrix.in));
  for (int i = 0; i < matrix.in; ++i) {
    for (int j = 0; j < matrix.in; ++j) {
      double sum = 0;
      for (int row = 0; row < matrix.out; ++row) {
        sum += at(matrix.values, row * matrix.in + i) * at(matrix.values, row * matrix.in + j);
      }
      gram[static_cast<std::size_t>(i * matrix.in + j)] = sum;
    }
  }
  std::vector<double> values = symmetric_eigen(gram, matrix.in).values;
  for (double& value : values) value = std::sqrt(std::max(0.0, value));
  return values;
}

void check_signs(const Svd& svd, int in, int rank) {
  for (int i = 0; i < rank; ++i) {
    const auto* row = svd.vt.data() + static_cast<std::ptrdiff_t>(i) * in;
    const auto larger = [](float left, float right) { return std::abs(left) < std::abs(right); };
    expect(*std::max_element(row, row + in, larger) > 0, "vector ", i, ": its largest entry is negative");
  }
}

void finds_the_largest_triplets() {
  for (const auto& [out, in] : {std::pair{1, 1}, {1, 19}, {19, 1}, {5, 3}, {19, 111}, {111, 19}, {130, 67}, {64, 64}}) {
    const Plain matrix = random_matrix(out, in, 3);
    const std::vector<double> all = singular_values(matrix);
    for (const int rank : {1, 2, 5, 16}) {
      if (rank > std::min(out, in)) continue;
      const Svd svd = svd_of(matrix, rank);
      for (int i = 0; i < rank; ++i) {
        const double error = std::abs(at(svd.s, i) - all[static_cast<std::size_t>(i)]);
        expect(error < 1e-6 * all[0], out, " x ", in, ": value ", i, " of ", rank, " is off by ", error);
      }
      const double error = triplet_error(matrix, svd, rank);
      expect(error < 1e-6 * all[0], out, " x ", in, ", rank ", rank, ": W v differs from s u by ", error);
      check_signs(svd, in, rank);
    }
  }
}

void degenerate_matrices() {
  const Svd zero = svd_of({6, 9, std::vector<float>(54)}, 3);
  for (const float value : zero.s) expect(value == 0, "a singular value of 0 is ", value);
  for (const float value : zero.u) expect(value == 0, "a left vector of value 0 is not 0");

  Plain identity{40, 40, std::vector<float>(1600)};
  for (int i = 0; i < 40; ++i) identity.values[static_cast<std::size_t>(i * 41)] = 2;
  const Svd same = svd_of(identity, 16);
  for (const float value : same.s) expect(std::abs(value - 2) < 1e-6, "a singular value of 2 is ", value);
  expect(triplet_error(identity, same, 16) < 1e-6, "the identity's vectors are none");

  Plain one{33, 50, std::vector<float>(33 * 50, 1.0F)};  // rank 1: all ones
  const Svd rank_one = svd_of(one, 2);
  expect(std::abs(rank_one.s[0] - std::sqrt(33.0 * 50)) < 1e-4, "the value of ones is ", rank_one.s[0]);
  expect(rank_one.s[1] < 1e-4, "the second value of ones is ", rank_one.s[1]);
  for (const Plain& scaled : {random_matrix(20, 30, 1)}) {
    for (const float scale : {1e-15F, 1e15F}) {
      Plain other = scaled;
      for (float& value : other.values) value *= scale;
      const double error = std::abs(svd_of(other, 2).s[0] / scale - svd_of(scaled, 2).s[0]);
      expect(error < 1e-5, "scaled by ", scale, " the value is off by ", error);
    }
  }
}

void same_bits_for_any_threads() {
  const Plain matrix = random_matrix(300, 190, 5);
  const Svd one = svd_of(matrix, 4, 1);
  for (const int threads : {2, 3, 5}) {
    const Svd many = svd_of(matrix, 4, threads);
    expect_same_bits("u", many.u, one.u);
    expect_same_bits("s", many.s, one.s);
    expect_same_bits("vt", many.vt, one.vt);
  }
}

void same_bits_for_any_instructions() {
  const Plain matrix = random_matrix(12, 40, 6);
  const Plain vectors = random_matrix(4, 40, 7);
  const std::vector<double> x(vectors.values.begin(), vectors.values.end());
  const auto run = [&](GramProduct product) {
    std::vector<double> y(48), z(160, 0.25);
    product(matrix.values.data(), 12, 40, x.data(), y.data(), z.data());
    y.insert(y.end(), z.begin(), z.end());
    return y;
  };
  const auto best = run(gram_product());
  if (__builtin_cpu_supports("avx2")) expect(run(gram_product_avx2) == best, "AVX2 gives other bits");
  std::vector<double> y(48), z(160, 0.25);
  svd_loops::gram_product(matrix.values.data(), 12, 40, x.data(), y.data(), z.data());
  y.insert(y.end(), z.begin(), z.end());
  expect(y == best, "plain instructions give other bits");
}

void refuses_and_aborts() {
  expect_error("ERR_ARGUMENT", "expected 1 to 3", [] { svd_of(random_matrix(3, 5, 1), 4); });
  expect_error("ERR_NUMERIC", "finite", [] {
    Plain matrix = random_matrix(8, 8, 1);
    matrix.values[9] = std::nanf("");
    svd_of(matrix, 2);
  });
  expect_error("ERR_ABORTED", "svd", [] {
    ThreadPool pool(1);
    const std::atomic<bool> abort = true;
    truncated_svd(
        4, 4, [](int, float* row) { std::fill_n(row, 4, 1.0F); }, 1, pool, abort);
  });
}

}  // namespace

void add_engine_svd_tests(Tests& tests) {
  tests.add("svd: the largest triplets", finds_the_largest_triplets);
  tests.add("svd: degenerate matrices", degenerate_matrices);
  tests.add("svd: same bits for any threads", same_bits_for_any_threads);
  tests.add("svd: same bits for any instructions", same_bits_for_any_instructions);
  tests.add("svd: refuses and aborts", refuses_and_aborts);
}

}  // namespace tinylora::test
