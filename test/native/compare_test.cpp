// The comparisons themselves: each must refuse a result that is slightly wrong.
#include <cmath>
#include <limits>

#include "suites.h"
#include "support.h"

namespace tinylora::test {
namespace {

void expect_refused(const std::string& what, const std::function<void()>& comparison) {
  bool refused = false;
  try {
    comparison();
  } catch (const std::runtime_error&) {
    refused = true;
  }
  expect(refused, what, " was accepted");
}

void near_refuses() {
  const std::vector<float> want = Random(1).normals(100);
  const Tolerance tolerance = summing(DType::f32, 100, 1);
  const auto with = [&](std::size_t index, float value) {
    std::vector<float> got = want;
    got[index] = value;
    return got;
  };
  expect_near("equal", want, want, tolerance);
  expect_refused("a value off by 1e-5", [&] { expect_near("x", with(99, want[99] + 1e-5F), want, tolerance); });
  expect_refused("a NaN", [&] { expect_near("x", with(50, std::nanf("")), want, tolerance); });
  expect_refused("an infinity", [&] { expect_near("x", with(0, INFINITY), want, tolerance); });
  expect_refused("a missing value", [&] { expect_near("x", {want.begin(), want.end() - 1}, want, tolerance); });
  expect_refused("a bf16 value off by two units",
                 [&] { expect_near("x", {1 + 0x1.0p-6F}, {1.0F}, rounding(DType::bf16)); });
}

void bits_refuse() {
  expect_refused("the next float", [] { expect_same_bits("x", {std::nextafter(1.0F, 2.0F)}, {1.0F}); });
  expect_refused("a negative zero", [] { expect_same_bits("x", {-0.0F}, {0.0F}); });
}

void gradient_refuses() {
  const std::vector<float> x = Random(2).normals(20);
  const auto loss = [](const std::vector<float>& at) {
    double sum = 0;
    for (const float value : at) sum += std::sin(double{value});
    return sum;
  };
  std::vector<float> gradient;
  for (const float value : x) gradient.push_back(std::cos(value));
  expect_gradient("sin", x, gradient, loss);
  gradient[7] *= 1.01F;
  expect_refused("a gradient off by 1 %", [&] { expect_gradient("sin", x, gradient, loss); });
}

/// A product that forgets the last term of its sums, one that drops the adapter of one row: what the linear tests
/// compare.
void tolerance_catches_a_wrong_product() {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Random random(3);
    const int rows = 19, in = 989;
    std::vector<float> whole(rows), short_by_one(rows);
    for (int m = 0; m < rows; ++m) {
      double sum = 0, last = 0;
      for (int i = 0; i < in; ++i) sum += last = double{random.normal()} * double{random.normal()} / std::sqrt(in);
      whole[m] = static_cast<float>(sum);
      short_by_one[m] = static_cast<float>(sum - last);
    }
    expect_refused("a sum without its last term",
                   [&] { expect_near("x", short_by_one, whole, summing(dtype, in, 1)); });
  }
}

void guard_refuses() {
  const auto backend = make_reference_backend(DType::f32);
  const Buffer<float> buffer(*backend, 19);
  buffer.data()[19] = 0;
  expect_refused("a write behind the end", [&] { buffer.read(); });
}

}  // namespace

void add_compare_tests(Tests& tests) {
  tests.add("compare: near", near_refuses);
  tests.add("compare: bits", bits_refuse);
  tests.add("compare: gradient", gradient_refuses);
  tests.add("compare: a wrong product", tolerance_catches_a_wrong_product);
  tests.add("compare: guard", guard_refuses);
}

}  // namespace tinylora::test
