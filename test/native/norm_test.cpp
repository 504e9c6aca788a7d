// rms_norm and its gradient.
#include <cmath>

#include "suites.h"
#include "support.h"

namespace tinylora::test {
namespace {

struct Norm {
  int rows, width;
  std::vector<float> x, gain, dy, dx;  // dx: what the gradient is added to
  float epsilon = 1e-5F;
};

Norm make_norm(int rows, int width) {
  Random random(static_cast<std::uint64_t>(rows * 1000 + width));
  const auto count = static_cast<std::size_t>(rows * width);
  Norm data{rows,
            width,
            random.normals(count, 2),
            random.normals(static_cast<std::size_t>(width)),
            random.normals(count),
            random.normals(count)};
  if (rows > 2) std::fill_n(data.x.begin() + width, width, 0.0F);  // a row of zeros: epsilon alone
  return data;
}

struct NormResult {
  std::vector<float> y, inv_rms;
};

NormResult rms_norm(Backend& backend, const Norm& data, int first, int rows) {
  const Buffer<float> x(backend, rows_of(data.x, first, rows, data.width)), gain(backend, data.gain);
  const ActBuffer y(backend, static_cast<std::size_t>(rows * data.width));
  const Buffer<float> inv_rms(backend, static_cast<std::size_t>(rows));
  backend.rms_norm({.rows = rows,
                    .width = data.width,
                    .epsilon = data.epsilon,
                    .x = x.data(),
                    .gain = gain.data(),
                    .y = y.data(),
                    .inv_rms = inv_rms.data()});
  return {y.read(), inv_rms.read()};
}

std::vector<float> rms_norm_backward(Backend& backend, const Norm& data, const std::vector<float>& inverses) {
  const Buffer<float> x(backend, data.x), gain(backend, data.gain), dy(backend, data.dy), dx(backend, data.dx);
  const Buffer<float> inv_rms(backend, inverses);
  backend.rms_norm_backward({.rows = data.rows,
                             .width = data.width,
                             .x = x.data(),
                             .gain = gain.data(),
                             .inv_rms = inv_rms.data(),
                             .dy = dy.data(),
                             .dx = dx.data()});
  return dx.read();
}

const std::vector<std::pair<int, int>> kSizes = {{0, 19}, {1, 1}, {1, 989}, {19, 111}, {33, 64}, {3, 576}};

void numerics(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  for (const auto& [rows, width] : kSizes) {
    const Norm data = make_norm(rows, width);
    const NormResult got = rms_norm(*backend, data, 0, rows), want = rms_norm(*reference, data, 0, rows);
    // The mean is a sum of squares, so of positive terms: its relative error is that of a random walk, halved by the
    // root.
    const double of_mean = summing(DType::f32, width, 1).absolute;
    expect_near("y", got.y, want.y, {0x1.0p-100, of_mean + rounding(dtype).relative});
    expect_near("inv_rms", got.inv_rms, want.inv_rms, {0, of_mean + rounding(DType::f32).relative});
    // dx is a difference of terms of about inv_rms * (|g| + |x| inv_rms): in the row of zeros 1 / sqrt(epsilon) = 316.
    expect_near("dx", rms_norm_backward(*backend, data, want.inv_rms),
                rms_norm_backward(*reference, data, want.inv_rms), {of_mean * 8, 0x1.0p-21});
  }
}

void gradient(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  Norm data = make_norm(2, 111);
  std::fill(data.dx.begin(), data.dx.end(), 0.0F);
  const NormResult forward = rms_norm(*backend, data, 0, data.rows);
  expect_gradient("dx", data.x, rms_norm_backward(*backend, data, forward.inv_rms), [&](const std::vector<float>& x) {
    Norm moved = data;
    moved.x = x;
    return weighted_sum(data.dy, rms_norm(*backend, moved, 0, data.rows).y);
  });
}

void invariance(const Candidate& candidate, DType dtype, int rows_of_all, int width) {
  const Norm data = make_norm(rows_of_all, width);
  const auto first = candidate.make(dtype, 1);
  const NormResult all = rms_norm(*first, data, 0, data.rows);
  const std::vector<float> dx = rms_norm_backward(*first, data, all.inv_rms);
  for (const int threads : thread_counts(candidate)) {
    const auto backend = candidate.make(dtype, threads);
    for (int rows = 1; rows <= 33; ++rows) {
      const int start = (rows * 7) % (data.rows - rows + 1);
      const NormResult part = rms_norm(*backend, data, start, rows);
      expect_same_bits("y", part.y, rows_of(all.y, start, rows, data.width));
      expect_same_bits("inv_rms", part.inv_rms, rows_of(all.inv_rms, start, rows, 1));
    }
    expect_same_bits("dx", rms_norm_backward(*backend, data, all.inv_rms), dx);
  }
}

}  // namespace

void add_norm_tests(Tests& tests) {
  add_for_each_backend(tests, "rms_norm: numerics", numerics);
  add_for_each_backend(tests, "rms_norm: gradient", gradient, {DType::f32});
  add_for_each_backend(tests, "rms_norm: invariance", [](const Candidate& candidate, DType dtype) {
    invariance(candidate, dtype, 64, 111);
    invariance(candidate, dtype, 519, 304);
  });
}

}  // namespace tinylora::test
