// The gradients of weights and the optimisers against the reference, finite differences, and any number of threads.
#include <cmath>

#include "head_case.h"
#include "linear_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

struct WeightGradients {
  std::vector<float> weight, bias;
};

WeightGradients weight_gradient(Backend& backend, const LinearCase& data) {
  const LinearShape& shape = data.shape;
  const ActBuffer x(backend, data.x), dy(backend, data.dy);
  const Buffer<float> weight(backend, data.w), bias(backend, data.bias);  // what the gradients are added to
  backend.weight_gradient({.rows = shape.rows,
                           .out = shape.out,
                           .in = shape.in,
                           .dy = dy.data(),
                           .x = x.data(),
                           .d_weight = weight.data(),
                           .d_bias = bias.data()});
  return {weight.read(), bias.read()};
}

const std::vector<LinearShape> kShapes = {
    {.rows = 1, .in = 1, .out = 1, .rank = 1, .bias = true},
    {.rows = 19, .in = 111, .out = 70, .rank = 2, .bias = true},
    {.rows = 37, .in = 64, .out = 48, .rank = 3, .bias = true},
    {.rows = 1111, .in = 53, .out = 300, .rank = 16, .bias = true},
};

/// More tiles of 128 x 128 than a device has multiprocessors (108 or 132 on the stand-in): the cuda backend's large
/// tiling.
const LinearShape kManyTiles = {.rows = 40, .in = 1153, .out = 1800, .bias = true};

void weights_match(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  std::vector<LinearShape> shapes = kShapes;
  shapes.push_back(kManyTiles);
  for (const LinearShape& shape : shapes) {
    const LinearCase data = make_linear(shape);
    const WeightGradients got = weight_gradient(*backend, data), want = weight_gradient(*reference, data);
    const double scale = std::sqrt(static_cast<double>(shape.rows));
    expect_near("dW", got.weight, want.weight, summing(DType::f32, shape.rows, scale + 1));
    expect_near("d_bias", got.bias, want.bias, summing(DType::f32, shape.rows, scale + 1));
  }
}

void weight_threads(const Candidate& candidate, DType dtype) {
  const LinearCase data = make_linear(kShapes[3]);
  const WeightGradients first = weight_gradient(*candidate.make(dtype, 1), data);
  for (const int threads : thread_counts(candidate)) {
    const WeightGradients got = weight_gradient(*candidate.make(dtype, threads), data);
    expect_same_bits("dW", got.weight, first.weight);
    expect_same_bits("d_bias", got.bias, first.bias);
  }
}

struct LoraGradients {
  std::vector<float> a, b;
};

LoraGradients lora_gradient(Backend& backend, const LinearCase& data, const std::vector<float>& z) {
  const LinearShape& shape = data.shape;
  const ActBuffer x(backend, data.x), dy(backend, data.dy);
  const Buffer<float> a(backend, data.a), b(backend, data.b), r(backend, data.r), kept(backend, z);
  const Buffer<std::int32_t> adapter(backend, data.adapter);
  const Buffer<float> d_a(backend, data.a), d_b(backend, data.b);
  backend.lora_gradient(
      {.rows = shape.rows,
       .in = shape.in,
       .out = shape.out,
       .x = x.data(),
       .dy = dy.data(),
       .lora = {.rank = shape.rank, .a = a.data(), .b = b.data(), .r = r.data(), .adapter = adapter.data()},
       .z = kept.data(),
       .d_a = d_a.data(),
       .d_b = d_b.data()});
  return {d_a.read(), d_b.read()};
}

void lora_matches(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  for (const LinearShape& shape : kShapes) {
    const LinearCase data = make_linear(shape);
    const std::vector<float> z = linear(*reference, data).z;
    const LoraGradients got = lora_gradient(*backend, data, z), want = lora_gradient(*reference, data, z);
    double size = 1;
    for (const float value : want.a) size = std::max(size, std::abs(double{value}));
    for (const float value : want.b) size = std::max(size, std::abs(double{value}));
    expect_near("dA", got.a, want.a, summing(DType::f32, shape.rows + shape.out, size));
    expect_near("dB", got.b, want.b, summing(DType::f32, shape.rows + shape.in, size));
    const LoraGradients alone = lora_gradient(*candidate.make(dtype, 5), data, z);
    expect_same_bits("dA of 5 threads", alone.a, got.a);
    expect_same_bits("dB of 5 threads", alone.b, got.b);
    LinearCase without = data;
    std::fill(without.adapter.begin(), without.adapter.end(), -1);
    const LoraGradients none = lora_gradient(*backend, without, z);
    expect_same_bits("dA of adapter -1", none.a, data.a);
    expect_same_bits("dB of adapter -1", none.b, data.b);
  }
}

std::vector<float> head_gradient(Backend& backend, const HeadCase& data, const std::vector<float>& kept) {
  const auto weight = pack(backend, data);
  const ActBuffer x(backend, data.x);
  const Buffer<std::int32_t> target(backend, data.target);
  const Buffer<float> inv_temperature(backend, data.inv_temperature), lse(backend, kept), d_logp(backend, data.d_logp);
  const HeadBackwardArgs back{.rows = data.rows,
                              .x = x.data(),
                              .weight = weight.get(),
                              .target = target.data(),
                              .inv_temperature = inv_temperature.data(),
                              .lse = lse.data(),
                              .d_logp = d_logp.data(),
                              .dx = nullptr};
  const Buffer<float> d_weight(backend, data.w.size());
  backend.head_gradient({.back = &back, .d_weight = d_weight.data()});
  return d_weight.read();
}

void head_matches(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  for (const auto& [rows, width, vocab] : {std::tuple{1, 19, 7}, {33, 64, 500}, {1100, 48, 193}}) {
    const HeadCase data = make_head(rows, width, vocab);
    const std::vector<float> lse = head(*reference, *pack(*reference, data), data, 0, rows).lse;
    const std::vector<float> got = head_gradient(*backend, data, lse), want = head_gradient(*reference, data, lse);
    double square = 0;
    for (const float value : want) square += double{value} * double{value};
    const double size = std::sqrt(square / static_cast<double>(want.size()));
    // A backend may round g to act.
    const double of_g = dtype == DType::bf16 ? 0x1.0p-6 : dtype == DType::f16 ? 0x1.0p-9 : 0x1.0p-17;
    expect_near("dW", got, want, {of_g * size, of_g});
    expect_same_bits("5 threads", head_gradient(*candidate.make(dtype, 5), data, lse), got);
  }
}

void head_is_that_of_differences(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  HeadCase data = make_head(5, 19, 23);
  const std::vector<float> lse = head(*backend, *pack(*backend, data), data, 0, data.rows).lse;
  expect_gradient("dW", data.w, head_gradient(*backend, data, lse), [&](const std::vector<float>& w) {
    HeadCase moved = data;
    moved.w = w;
    return weighted_sum(data.d_logp, head(*backend, *pack(*backend, moved), moved, 0, data.rows).logp);
  });
}

void gains_match(const Candidate& candidate, DType dtype) {
  for (const auto& [rows, width] : {std::pair{1, 1}, {33, 111}, {1500, 64}}) {
    Random random(7);
    const auto count = static_cast<std::size_t>(rows * width);
    const std::vector<float> x_values = random.normals(count), dy_values = random.normals(count);
    const std::vector<float> inverses(static_cast<std::size_t>(rows), 0.7F);
    const auto run = [&](Backend& backend) {
      const Buffer<float> x(backend, x_values), dy(backend, dy_values), inv(backend, inverses);
      const Buffer<float> gain(backend, static_cast<std::size_t>(width), 0.5F);
      backend.gain_gradient(
          {.rows = rows, .width = width, .x = x.data(), .inv_rms = inv.data(), .dy = dy.data(), .d_gain = gain.data()});
      return gain.read();
    };
    const std::vector<float> got = run(*candidate.make(dtype, 2));
    expect_near("d_gain", got, run(*make_reference_backend(dtype)), {1e-6, 1e-6});
    expect_same_bits("5 threads", run(*candidate.make(dtype, 5)), got);
  }
}

struct Optimised {
  std::vector<float> weight, first, second;
  double squares = 0;
};

Optimised optimise(Backend& backend, bool adamw) {
  constexpr std::size_t kCount = 20011;
  Random random(11);
  const Buffer<float> weight(backend, random.normals(kCount)), gradient(backend, random.normals(kCount, 1e-3));
  const Buffer<float> first(backend, random.normals(kCount, 1e-3)), second(backend, kCount, 2e-6F);
  const Buffer<double> squares(backend, 1);
  const auto count = static_cast<std::int64_t>(kCount);
  if (adamw) {
    backend.adamw({.count = count,
                   .rate = 0.01F,
                   .decay = 0.1F,
                   .scale = 0.5F,
                   .beta1 = 0.9F,
                   .beta2 = 0.99F,
                   .epsilon = 1e-8F,
                   .correction1 = 0.19F,
                   .correction2 = 0.0199F,
                   .gradient = gradient.data(),
                   .first = first.data(),
                   .second = second.data(),
                   .weight = weight.data()});
  } else {
    backend.sgd({.count = count,
                 .rate = 0.1F,
                 .decay = 0.1F,
                 .scale = 0.5F,
                 .momentum = 0.9F,
                 .gradient = gradient.data(),
                 .buffer = first.data(),
                 .weight = weight.data()});
  }
  backend.sum_squares({.count = count, .x = weight.data(), .sum = squares.data()});
  return {weight.read(), first.read(), second.read(), squares.read()[0]};
}

void optimisers_match(const Candidate& candidate, DType dtype) {
  for (const bool adamw : {true, false}) {
    const Optimised got = optimise(*candidate.make(dtype, 2), adamw);
    const Optimised want = optimise(*make_reference_backend(dtype), adamw);
    expect_near("weight", got.weight, want.weight, {1e-6, 1e-6});
    expect_near("first", got.first, want.first, {1e-9, 1e-6});
    expect_near("second", got.second, want.second, {1e-12, 1e-6});
    expect(std::abs(got.squares - want.squares) <= 1e-5 * want.squares, "squares: expected ", want.squares, ", found ",
           got.squares);
    const Optimised again = optimise(*candidate.make(dtype, 5), adamw);
    expect_same_bits("weight of 5 threads", again.weight, got.weight);
    expect(again.squares == got.squares, "squares of 5 threads differ");
  }
}

/// More chunks than a block of the cuda backend sums at once (256). The order is given, so the bits are too.
void squares_are_summed_in_order(const Candidate& candidate, DType dtype) {
  constexpr std::size_t kCount = 260 * 4096 + 77;
  const std::vector<float> values = Random(12).normals(kCount);
  const auto run = [&](Backend& backend) {
    const Buffer<float> x(backend, values);
    const Buffer<double> sum(backend, 1);
    backend.sum_squares({.count = static_cast<std::int64_t>(kCount), .x = x.data(), .sum = sum.data()});
    return sum.read()[0];
  };
  const double want = run(*make_reference_backend(dtype));
  for (const int threads : {1, 5}) {
    const double got = run(*candidate.make(dtype, threads));
    expect(got == want, "squares: expected ", want, ", found ", got, " with ", threads, " threads");
  }
}

void repacked_is_packed(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const LinearCase data = make_linear({.rows = 5, .in = 111, .out = 70});
  const auto weight = pack(*backend, 70, 111, std::vector<float>(data.w.size(), 3));
  const Buffer<float> values(*backend, data.w);
  backend->repack(*weight, values.data());
  expect_same_bits("y", linear(*backend, *weight, data, 0, 5).y, linear(*backend, data).y);
}

}  // namespace

void add_weight_gradient_tests(Tests& tests) {
  add_for_each_backend(tests, "weight gradient: numerics", weights_match);
  add_for_each_backend(tests, "weight gradient: threads", weight_threads);
  add_for_each_backend(tests, "lora gradient: numerics", lora_matches);
  add_for_each_backend(tests, "head gradient: numerics", head_matches);
  add_for_each_backend(tests, "head gradient: finite differences", head_is_that_of_differences, {DType::f32});
  add_for_each_backend(tests, "gain gradient: numerics", gains_match);
  add_for_each_backend(tests, "optimisers: numerics", optimisers_match);
  add_for_each_backend(tests, "sum of squares: in order", squares_are_summed_in_order, {DType::f32});
  add_for_each_backend(tests, "repack: as packed", repacked_is_packed);
}

}  // namespace tinylora::test
