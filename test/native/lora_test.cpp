// The update inside a product: no adapter is exactly the base model, mixed adapters are exactly each alone.
#include "linear_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

const std::vector<LinearShape> kShapes = {
    {.rows = 37, .in = 111, .out = 70, .rank = 2, .bias = true},
    {.rows = 37, .in = 64, .out = 48, .rank = 3, .y_float = true, .add = true},
};

/// Rank 0, adapter -1 and R = 0 give the same bits.
void no_update_is_the_base(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const LinearShape& shape : kShapes) {
    const LinearCase data = make_linear(shape);
    LinearCase bare = data;
    bare.shape.rank = 0;
    const std::vector<float> base = linear(*backend, bare).y;

    LinearCase without = data;
    std::fill(without.adapter.begin(), without.adapter.end(), -1);
    expect_same_bits("adapter -1", linear(*backend, without).y, base);

    LinearCase zero = data;
    std::fill(zero.r.begin(), zero.r.end(), 0.0F);
    expect_same_bits("R = 0", linear(*backend, zero).y, base);
  }
}

void no_update_has_the_base_gradient(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const LinearShape& shape : kShapes) {
    const LinearCase data = make_linear(shape);
    const auto weight = pack(*backend, data);
    const std::vector<float> z = linear(*backend, *weight, data, 0, shape.rows).z;
    LinearCase bare = data;
    bare.shape.rank = 0;
    const std::vector<float> base = linear_backward(*backend, *weight, bare, z).dx;

    LinearCase without = data;
    std::fill(without.adapter.begin(), without.adapter.end(), -1);
    const LinearGradients gradients = linear_backward(*backend, *weight, without, z);
    expect_same_bits("dx of adapter -1", gradients.dx, base);
    expect_same_bits("dR of adapter -1", gradients.d_r, std::vector<float>(data.r.size()));

    LinearCase zero = data;
    std::fill(zero.r.begin(), zero.r.end(), 0.0F);
    expect_same_bits("dx of R = 0", linear_backward(*backend, *weight, zero, z).dx, base);
  }
}

/// A batch of several adapters against batches of one adapter each.
void mixed_is_each_alone(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 3);
  for (const LinearShape& shape : kShapes) {
    const LinearCase data = make_linear(shape);
    const LinearResult mixed = linear(*backend, data);
    for (int adapter = -1; adapter < shape.adapters; ++adapter) {
      LinearCase alone = data;
      std::fill(alone.adapter.begin(), alone.adapter.end(), adapter);
      const LinearResult one = linear(*backend, alone);
      for (int m = 0; m < shape.rows; ++m) {
        if (data.adapter[m] != adapter) continue;
        expect_same_bits("y of adapter " + std::to_string(adapter), rows_of(mixed.y, m, 1, shape.out),
                         rows_of(one.y, m, 1, shape.out));
      }
    }
  }
}

/// Products of one x in one call, each with its own update, rank and width: each as if alone, whichever of them leave a
/// row without one.
void products_stay_apart(const Candidate& candidate, DType dtype) {
  for (const int threads : {1, 3}) {
    const auto backend = candidate.make(dtype, threads);
    std::vector<LinearCase> cases;
    for (const auto& [out, rank] : {std::pair{70, 2}, {48, 3}, {33, 0}, {19, 2}}) {
      cases.push_back(make_linear({.rows = 37, .in = 64, .out = out, .rank = rank, .bias = true}));
      LinearCase& added = cases.back();
      added.x = cases.front().x;
      added.adapter = cases.front().adapter;
      // One adapter, another one in each product, has no update.
      const int zero = static_cast<int>(cases.size() - 1) % added.shape.adapters;
      std::fill_n(added.r.begin() + zero * rank * rank, rank * rank, 0.0F);
    }
    const std::vector<LinearResult> together = linear_together(*backend, cases);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      const LinearResult alone = linear(*backend, cases[i]);
      expect_same_bits("y of product " + std::to_string(i), together[i].y, alone.y);
      expect_same_bits("z of product " + std::to_string(i), together[i].z, alone.z);
    }
  }
}

/// dR of one adapter sees that adapter's rows alone.
void gradients_stay_apart(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const LinearCase data = make_linear(kShapes[0]);
  const auto weight = pack(*backend, data);
  const std::vector<float> z = linear(*backend, *weight, data, 0, data.shape.rows).z;
  const std::vector<float> all = linear_backward(*backend, *weight, data, z).d_r;
  const int size = data.shape.rank * data.shape.rank;
  for (int adapter = 0; adapter < data.shape.adapters; ++adapter) {
    LinearCase others_off = data;
    for (auto& row : others_off.adapter) row = row == adapter ? row : -1;
    const std::vector<float> alone = linear_backward(*backend, *weight, others_off, z).d_r;
    expect_same_bits("dR", rows_of(alone, adapter, 1, size), rows_of(all, adapter, 1, size));
    for (int other = 0; other < data.shape.adapters; ++other) {
      if (other == adapter) continue;
      expect_same_bits("dR of an absent adapter", rows_of(alone, other, 1, size), std::vector<float>(size));
    }
  }
}

}  // namespace

void add_lora_tests(Tests& tests) {
  add_for_each_backend(tests, "lora: no update is the base model", no_update_is_the_base);
  add_for_each_backend(tests, "lora: no update has the base gradient", no_update_has_the_base_gradient);
  add_for_each_backend(tests, "lora: mixed adapters are each alone", mixed_is_each_alone);
  add_for_each_backend(tests, "lora: products stay apart", products_stay_apart);
  add_for_each_backend(tests, "lora: gradients stay apart", gradients_stay_apart);
}

}  // namespace tinylora::test
