// W^T W for the SVD: the same bits from every backend, number of threads and instruction set; on the stand-in, what the
// CUDA kernels ask of memory.
#include <bit>

#include "cpu/gram_loops.h"
#include "engine_case.h"
#include "simulated_driver.h"
#include "suites.h"
#include "support.h"

namespace tinylora::test {
namespace {

struct Case {
  int out, in;
};

/// Less than a block of rows, of columns, of a piece; several of each; one piece, 32, more rows in one than y in shared
/// memory.
const Case kCases[] = {{1, 1}, {4, 8}, {5, 9}, {33, 65}, {130, 67}, {31, 520}, {1100, 72}, {70, 700}, {4200, 12}};

struct Products {
  std::vector<double> z, y;
};

/// Two products, so that what one leaves behind would show in the other.
Products products_on(Backend& backend, const Case& of, int threads) {
  Random random(11);
  const std::vector<float> w = random.normals(static_cast<std::size_t>(of.out * of.in));
  ThreadPool pool(threads);
  const auto rows = [&](int row, float* to) { std::copy_n(w.data() + std::ptrdiff_t{row} * of.in, of.in, to); };
  const std::unique_ptr<GramMatrix> matrix = backend.gram_matrix(of.out, of.in, rows, pool);
  Products found;
  for (int round = 0; round < 2; ++round) {
    std::vector<double> x(static_cast<std::size_t>(kGramVectors * matrix->width)), z(x.size());
    for (int j = 0; j < kGramVectors; ++j) {
      for (int i = 0; i < of.in; ++i) x[static_cast<std::size_t>(j * matrix->width + i)] = random.uniform() - 0.5;
    }
    matrix->multiply(x.data(), z.data());
    found.z.insert(found.z.end(), z.begin(), z.end());
    found.y.insert(found.y.end(), matrix->y(), matrix->y() + matrix->rows * kGramVectors);
  }
  return found;
}

void expect_equal(const std::string& what, const std::vector<double>& got, const std::vector<double>& want) {
  expect(got.size() == want.size(), what, ": expected ", want.size(), " numbers, found ", got.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    expect(std::bit_cast<std::uint64_t>(got[i]) == std::bit_cast<std::uint64_t>(want[i]), what, "[", i,
           "]: expected the bits of ", want[i], ", found ", got[i]);
  }
}

void has_the_references_bits(const Candidate& candidate, DType dtype) {
  const auto reference = make_reference_backend(DType::f32);
  for (const int threads : {1, 2, 5}) {
    const auto backend = candidate.make(dtype, threads);
    for (const Case& one : kCases) {
      const Products got = products_on(*backend, one, threads), want = products_on(*reference, one, 1);
      const std::string name = std::to_string(one.out) + " x " + std::to_string(one.in);
      expect_equal("y of " + name, got.y, want.y);
      expect_equal("z of " + name, got.z, want.z);
    }
  }
}

void same_bits_for_any_instructions() {
  Random random(6);
  const std::vector<float> w = random.normals(12 * 40), vectors = random.normals(4 * 40);
  const std::vector<double> x(vectors.begin(), vectors.end());
  const auto run = [&](GramProduct product) {
    std::vector<double> y(48), z(160, 0.25);
    product(w.data(), 12, 40, x.data(), y.data(), z.data());
    y.insert(y.end(), z.begin(), z.end());
    return y;
  };
  const auto plain = run(gram_product_plain);
  expect_equal("the machine's best", run(gram_product()), plain);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) expect_equal("AVX2", run(gram_product_avx2), plain);
#endif
}

/// W once by each kernel that reads it, and no bank of shared memory twice.
void asks_for_no_more_than_it_needs(const SimulatedDriver& driver) {
  const auto backend = candidates().back().make(DType::f32, 1);
  const Case shape{256, 1024};
  driver.reset_counters();
  products_on(*backend, shape, 1);
  constexpr std::int64_t kRounds = 2, kSector = 32;
  const std::int64_t w = std::int64_t{4} * shape.out * shape.in, vectors = std::int64_t{8} * kGramVectors * shape.in;
  const std::int64_t y = std::int64_t{8} * kGramVectors * shape.out, pieces = 8;
  const std::pair<const char*, std::int64_t> kernels[] = {
      {"gram_rows", w + shape.out / 32 * vectors + y},
      {"gram_columns", w + shape.in / 256 * y + pieces * vectors},
      {"gram_sum", (pieces + 1) * vectors},
  };
  for (const auto& [kernel, bytes] : kernels) {
    expect(driver.counted(kernel, "sectors") == kRounds * bytes / kSector, kernel, ": expected ",
           kRounds * bytes / kSector, " sectors, found ", driver.counted(kernel, "sectors"));
    expect(driver.counted(kernel, "wavefronts") == driver.counted(kernel, "idealWavefronts"), kernel,
           " has conflicts of shared memory");
  }
}

/// Before a row is read.
void says_what_does_not_fit() {
  const auto backend = candidates().back().make(DType::f32, 1);
  ThreadPool pool(1);
  expect_error("ERR_MEMORY", "no room for 1048576 MiB more", [&] {
    backend->gram_matrix(
        1 << 20, 1 << 18, [](int, float*) { expect(false, "a row was read"); }, pool);
  });
}

}  // namespace

void add_gram_tests(Tests& tests) {
  add_for_each_backend(tests, "gram: the reference's bits", has_the_references_bits, {DType::f32});
  tests.add("gram: same bits for any instructions", same_bits_for_any_instructions);
  if (const SimulatedDriver driver = SimulatedDriver::find()) {
    tests.add("gram: sectors and banks [cuda]", [driver] { asks_for_no_more_than_it_needs(driver); });
    tests.add("gram: no room [cuda]", says_what_does_not_fit);
  }
}

}  // namespace tinylora::test
