// Truncated SVD on every backend: against the matrix itself, awkward and degenerate shapes, the same bits on all of
// them and for any threads.
#include <cmath>

#include "engine/svd.h"
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

Svd svd_of(Backend& backend, const Plain& matrix, int rank, int threads = 2) {
  ThreadPool pool(threads);
  const std::atomic<bool> abort = false;
  const auto rows = [&](int row, float* values) {
    std::copy_n(matrix.values.data() + static_cast<std::ptrdiff_t>(row) * matrix.in, matrix.in, values);
  };
  return truncated_svd(backend, matrix.out, matrix.in, rows, rank, pool, abort);
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

void finds_the_largest_triplets(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const auto& [out, in] : {std::pair{1, 1}, {1, 19}, {19, 1}, {5, 3}, {19, 111}, {111, 19}, {130, 67}, {64, 64}}) {
    const Plain matrix = random_matrix(out, in, 3);
    const std::vector<double> all = singular_values(matrix);
    for (const int rank : {1, 2, 5, 16}) {
      if (rank > std::min(out, in)) continue;
      const Svd svd = svd_of(*backend, matrix, rank);
      expect(svd.angle == 0, "angle of a converged SVD: expected 0, found ", svd.angle);
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

void degenerate_matrices(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const Svd zero = svd_of(*backend, {6, 9, std::vector<float>(54)}, 3);
  for (const float value : zero.s) expect(value == 0, "a singular value of 0 is ", value);
  for (const float value : zero.u) expect(value == 0, "a left vector of value 0 is not 0");

  Plain identity{40, 40, std::vector<float>(1600)};
  for (int i = 0; i < 40; ++i) identity.values[static_cast<std::size_t>(i * 41)] = 2;
  const Svd same = svd_of(*backend, identity, 16);
  for (const float value : same.s) expect(std::abs(value - 2) < 1e-6, "a singular value of 2 is ", value);
  expect(triplet_error(identity, same, 16) < 1e-6, "the identity's vectors are none");

  Plain one{33, 50, std::vector<float>(33 * 50, 1.0F)};  // rank 1: all ones
  const Svd rank_one = svd_of(*backend, one, 2);
  expect(std::abs(rank_one.s[0] - std::sqrt(33.0 * 50)) < 1e-4, "the value of ones is ", rank_one.s[0]);
  expect(rank_one.s[1] < 1e-4, "the second value of ones is ", rank_one.s[1]);
  for (const Plain& scaled : {random_matrix(20, 30, 1)}) {
    for (const float scale : {1e-15F, 1e15F}) {
      Plain other = scaled;
      for (float& value : other.values) value *= scale;
      const double error = std::abs(svd_of(*backend, other, 2).s[0] / scale - svd_of(*backend, scaled, 2).s[0]);
      expect(error < 1e-5, "scaled by ", scale, " the value is off by ", error);
    }
  }
}

/// Ones have rank 1: what the first block leaves vanishes. Of few columns the basis is the whole space.
void same_bits_everywhere(const Candidate& candidate, DType dtype) {
  const auto reference = make_reference_backend(DType::f32);
  const Plain ones{1100, 24, std::vector<float>(1100 * 24, 1.0F)};
  for (const Plain& matrix : {random_matrix(300, 190, 5), random_matrix(40, 9, 2), ones}) {
    const Svd want = svd_of(*reference, matrix, 5, 1);
    for (const int threads : thread_counts(candidate)) {
      const Svd got = svd_of(*candidate.make(dtype, threads), matrix, 5, threads);
      expect_same_bits("u", got.u, want.u);
      expect_same_bits("s", got.s, want.s);
      expect_same_bits("vt", got.vt, want.vt);
    }
  }
}

std::uint64_t hash(const Svd& svd) {
  BitHash bits;
  for (const auto* values : {&svd.u, &svd.s, &svd.vt}) bits.add(*values);
  return bits.value();
}

/// Adapters and caches of other versions hold these bits: who changes them counts up SVD_RECIPE (lib/adapter/spec.ts).
void bits_of_the_recipe(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const auto expect_bits = [&](int out, int in, int rank, std::uint64_t want) {
    const std::uint64_t got = hash(svd_of(*backend, random_matrix(out, in, 3), rank));
    expect(got == want, out, " x ", in, ", rank ", rank, ": expected ", std::hex, want, ", found ", got);
  };
  expect_bits(130, 67, 5, 0xe883a264c84708c1);
  expect_bits(64, 64, 16, 0x525d3d3372b023f9);
  expect_bits(70, 700, 16, 0xda18252abb945542);
}

/// A hundred singular values that lie too close together for as many vectors as the basis holds.
void tells_that_it_has_not_converged(const Candidate& candidate, DType dtype) {
  constexpr int kSize = 200;
  Plain matrix{kSize, kSize, std::vector<float>(kSize * kSize)};
  for (int i = 0; i < kSize; ++i) {
    const double value = i < kSize / 2 ? 1 - std::ldexp(i, -22) : 0.7 * (kSize - i) / (kSize / 2.0);
    matrix.values[static_cast<std::size_t>(i * kSize + i)] = static_cast<float>(value);
  }
  const auto backend = candidate.make(dtype, 2);
  const Svd svd = svd_of(*backend, matrix, 2);
  expect(svd.angle > 1e-6 && svd.angle < 1.6, "angle: expected more than 1e-6 and less than 1.6, found ", svd.angle);
  expect(std::abs(svd.s[0] - 1) < 1e-4, "s[0]: expected 1, found ", svd.s[0]);
}

void refuses_and_aborts(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const int rank : {0, 4}) {
    expect_error("ERR_ARGUMENT", "expected 1 to 3", [&] { svd_of(*backend, random_matrix(3, 5, 1), rank); });
  }
  expect_error("ERR_NUMERIC", "finite", [&] {
    Plain matrix = random_matrix(8, 8, 1);
    matrix.values[9] = std::nanf("");
    svd_of(*backend, matrix, 2);
  });
  expect_error("ERR_ABORTED", "svd", [&] {
    ThreadPool pool(1);
    const std::atomic<bool> abort = true;
    truncated_svd(
        *backend, 4, 4, [](int, float* row) { std::fill_n(row, 4, 1.0F); }, 1, pool, abort);
  });
}

}  // namespace

void add_engine_svd_tests(Tests& tests) {
  const auto add = [&](const char* name, const std::function<void(const Candidate&, DType)>& body) {
    add_for_each_backend(tests, name, body, {DType::f32});
  };
  add("svd: the largest triplets", finds_the_largest_triplets);
  add("svd: degenerate matrices", degenerate_matrices);
  add("svd: same bits everywhere", same_bits_everywhere);
  add("svd: bits of the recipe", bits_of_the_recipe);
  add_for_all_but_cuda(tests, "svd: tells that it has not converged", tells_that_it_has_not_converged);
  add("svd: refuses and aborts", refuses_and_aborts);
}

}  // namespace tinylora::test
