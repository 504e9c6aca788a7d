// linear and linear_backward: against the reference, against finite differences, row invariance.
#include <algorithm>
#include <cmath>

#include "cpu/cpu_backend.h"
#include "linear_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

const std::vector<LinearShape> kShapes = {
    {.rows = 0, .in = 19, .out = 7, .rank = 2},
    {.rows = 1, .in = 1, .out = 1},
    {.rows = 2, .in = 2, .out = 3, .rank = 1},
    {.rows = 1, .in = 989, .out = 111, .rank = 2, .bias = true},
    {.rows = 19, .in = 111, .out = 989, .rank = 4, .y_float = true, .add = true},
    {.rows = 33, .in = 64, .out = 44, .rank = 2, .bias = true},
    {.rows = 64, .in = 576, .out = 192, .rank = 16, .bias = true, .y_float = true},
    {.rows = 65, .in = 1536, .out = 19, .rank = 1, .y_float = true, .add = true},
    {.rows = 130, .in = 129, .out = 130, .rank = 3},
    {.rows = 35, .in = 4999, .out = 37, .rank = 2},  // more inputs than a product takes through memory at once
    {.rows = 35, .in = 37, .out = 4999, .rank = 2},
};

/// More rows than the cpu backend takes through a product at once, and outputs that it writes past the caches. Other
/// backends have no such limits, and so many rows take the stand-in minutes.
const LinearShape kManyRows[] = {{.rows = 4200, .in = 19, .out = 7, .rank = 2, .bias = true},
                                 {.rows = 4200, .in = 7, .out = 19, .rank = 3, .y_float = true, .add = true},
                                 {.rows = 4200, .in = 19, .out = 160, .rank = 2, .bias = true}};

std::vector<LinearShape> with_many_rows(std::vector<LinearShape> shapes, const Candidate& candidate) {
  if (candidate.name != "cuda") shapes.insert(shapes.end(), std::begin(kManyRows), std::end(kManyRows));
  return shapes;
}

/// The sums run over in (or out), then over rank terms of the update; the result is about sqrt(1 + rank).
Tolerance product_tolerance(DType dtype, int terms, int rank) {
  return summing(dtype, terms + rank, 2 * std::sqrt(1.0 + rank));
}

void numerics(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  for (const LinearShape& shape : with_many_rows(kShapes, candidate)) {
    const LinearCase data = make_linear(shape);
    const auto weight = pack(*backend, data), reference_weight = pack(*reference, data);
    const std::string name =
        std::to_string(shape.rows) + "x" + std::to_string(shape.in) + "x" + std::to_string(shape.out);

    const LinearResult got = linear(*backend, *weight, data, 0, shape.rows);
    const LinearResult want = linear(*reference, *reference_weight, data, 0, shape.rows);
    expect_near("y " + name, got.y, want.y,
                product_tolerance(shape.y_float ? DType::f32 : dtype, shape.in, shape.rank));
    expect_near("z " + name, got.z, want.z, product_tolerance(DType::f32, shape.in, 0));

    const LinearGradients back = linear_backward(*backend, *weight, data, want.z);
    const LinearGradients want_back = linear_backward(*reference, *reference_weight, data, want.z);
    expect_near("dx " + name, back.dx, want_back.dx, product_tolerance(DType::f32, shape.out, shape.rank));
    // s is about 1, z about 1: a sum over the rows of products whose factor s has the error of its own sum.
    expect_near("dR " + name, back.d_r, want_back.d_r,
                {summing(DType::f32, shape.out, 4).absolute * std::sqrt(1.0 + shape.rows), 0x1.0p-20});
  }
}

void gradient(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  LinearCase data = make_linear({.rows = 9, .in = 37, .out = 29, .rank = 3, .bias = true, .y_float = true});
  std::fill(data.dx.begin(), data.dx.end(), 0.0F);
  const LinearResult forward = linear(*backend, data);
  const LinearGradients gradients = linear_backward(*backend, *pack(*backend, data), data, forward.z);
  const auto loss = [&](std::vector<float> LinearCase::*field) {
    return [&, field](const std::vector<float>& values) {
      LinearCase moved = data;
      moved.*field = values;
      return weighted_sum(data.dy, linear(*backend, moved).y);
    };
  };
  expect_gradient("dx", data.x, gradients.dx, loss(&LinearCase::x));
  expect_gradient("dR", data.r, gradients.d_r, loss(&LinearCase::r));
}

/// Each row's bits in batches of many sizes, at many places, on any number of threads.
void invariance(const Candidate& candidate, DType dtype) {
  const std::vector<LinearShape> shapes = {{.rows = 512, .in = 111, .out = 70, .rank = 2, .bias = true},
                                           {.rows = 512, .in = 192, .out = 33, .rank = 4, .y_float = true, .add = true},
                                           {.rows = 70, .in = 576, .out = 989, .rank = 0}};
  for (const LinearShape& shape : with_many_rows(shapes, candidate)) {
    const LinearCase data = make_linear(shape);
    const auto first = candidate.make(dtype, 1);
    const auto first_weight = pack(*first, data);
    const LinearResult all = linear(*first, *first_weight, data, 0, shape.rows);
    const LinearGradients gradients = linear_backward(*first, *first_weight, data, all.z);

    const std::vector<int> all_threads = thread_counts(candidate);
    const int step = all_threads.size() > 1 ? 3 : 1;  // together they take every number of rows up to 33
    for (const int threads : all_threads) {
      const auto backend = candidate.make(dtype, threads);
      const auto weight = pack(*backend, data);
      std::vector<int> counts = {64, shape.rows};
      for (int count = threads; count <= 33; count += step) counts.push_back(count);
      counts.push_back(1);
      for (const int count : counts) {
        const int start = count * 97 % (shape.rows - count + 1);
        const std::string name = std::to_string(count) + " rows from " + std::to_string(start) + ", " +
                                 std::to_string(threads) + " threads: ";
        const LinearResult part = linear(*backend, *weight, data, start, count);
        expect_same_bits(name + "y", part.y, rows_of(all.y, start, count, shape.out));
        expect_same_bits(name + "z", part.z, rows_of(all.z, start, count, shape.rank));
      }
      const LinearGradients again = linear_backward(*backend, *weight, data, all.z);
      expect_same_bits("dx", again.dx, gradients.dx);
      expect_same_bits("dR", again.d_r, gradients.d_r);
    }
  }
}

/// What machines without the tiles test in their place is what the tiles do, but for denormals, which these flush.
void emulated_tiles() {
  for (const LinearShape& shape : {LinearShape{.rows = 16, .in = 64, .out = 32, .y_float = true},
                                   LinearShape{.rows = 65, .in = 1536, .out = 19, .y_float = true},
                                   LinearShape{.rows = 130, .in = 129, .out = 130, .bias = true}}) {
    const LinearCase data = make_linear(shape);
    const auto tiles = make_cpu_backend(DType::bf16, 2, CpuPath::amx);
    const auto emulated = make_cpu_backend(DType::bf16, 2, CpuPath::amx_emulated);
    expect_same_bits("y", linear(*emulated, data).y, linear(*tiles, data).y);
  }
}

}  // namespace

void add_linear_tests(Tests& tests) {
  add_for_each_backend(tests, "linear: numerics", numerics);
  add_for_each_backend(tests, "linear: gradient", gradient, {DType::f32});
  add_for_each_backend(tests, "linear: invariance", invariance);
  const std::vector<CpuPath>& usable = usable_paths();
  if (std::find(usable.begin(), usable.end(), CpuPath::amx) != usable.end()) {
    tests.add("linear: emulated tiles have the bits of AMX's", emulated_tiles);
  }
}

}  // namespace tinylora::test
