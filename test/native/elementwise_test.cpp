// swiglu, its gradient, gather_rows, scatter_add_rows, embed.
#include <cmath>

#include "suites.h"
#include "support.h"

namespace tinylora::test {
namespace {

struct Swiglu {
  int rows, width;
  std::vector<float> gate, up, dh;
};

Swiglu make_swiglu(int rows, int width) {
  Random random(static_cast<std::uint64_t>(rows * 1000 + width));
  const auto count = static_cast<std::size_t>(rows * width);
  Swiglu data{rows, width, random.normals(count, 3), random.normals(count), random.normals(count)};
  const float far[] = {0.0F,   -0.0F,  100.0F, -100.0F,
                       1e-30F, -88.0F, 400.0F, -400.0F};  // where exp overflows or nothing is left
  for (std::size_t i = 0; i < count && i < std::size(far); ++i) data.gate[i] = far[i];
  return data;
}

std::vector<float> swiglu(Backend& backend, const Swiglu& data, int first, int rows) {
  const ActBuffer gate(backend, rows_of(data.gate, first, rows, data.width));
  const ActBuffer up(backend, rows_of(data.up, first, rows, data.width));
  const ActBuffer h(backend, static_cast<std::size_t>(rows * data.width));
  backend.swiglu({.rows = rows, .width = data.width, .gate = gate.data(), .up = up.data(), .h = h.data()});
  return h.read();
}

struct SwigluGradients {
  std::vector<float> d_gate, d_up;
};

SwigluGradients swiglu_backward(Backend& backend, const Swiglu& data) {
  const ActBuffer gate(backend, data.gate), up(backend, data.up);
  const Buffer<float> dh(backend, data.dh);
  const ActBuffer d_gate(backend, data.gate.size()), d_up(backend, data.gate.size());
  backend.swiglu_backward({.rows = data.rows,
                           .width = data.width,
                           .gate = gate.data(),
                           .up = up.data(),
                           .dh = dh.data(),
                           .d_gate = d_gate.data(),
                           .d_up = d_up.data()});
  return {d_gate.read(), d_up.read()};
}

const std::vector<std::pair<int, int>> kSizes = {{0, 19}, {1, 1}, {1, 989}, {19, 111}, {33, 64}};

/// A few roundings of factors near 1 and an exp of 2 ulp, then the rounding of the result.
Tolerance pointwise(DType dtype) { return {0x1.0p-100, 0x1.0p-20 + rounding(dtype).relative}; }

void swiglu_numerics(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2), reference = make_reference_backend(dtype);
  for (const auto& [rows, width] : kSizes) {
    const Swiglu data = make_swiglu(rows, width);
    expect_near("h", swiglu(*backend, data, 0, rows), swiglu(*reference, data, 0, rows), pointwise(dtype));
    const SwigluGradients got = swiglu_backward(*backend, data), want = swiglu_backward(*reference, data);
    // 1 + g (1 - sigma) cancels near g = -1.28: the absolute error of its terms remains.
    const Tolerance tolerance = {0x1.0p-20, pointwise(dtype).relative};
    expect_near("d_gate", got.d_gate, want.d_gate, tolerance);
    expect_near("d_up", got.d_up, want.d_up, tolerance);
  }
}

void swiglu_gradient(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  Swiglu data = make_swiglu(3, 19);
  data.gate = Random(5).normals(data.gate.size(), 2);
  const SwigluGradients gradients = swiglu_backward(*backend, data);
  const auto loss = [&](std::vector<float> Swiglu::*field) {
    return [&, field](const std::vector<float>& x) {
      Swiglu moved = data;
      moved.*field = x;
      return weighted_sum(data.dh, swiglu(*backend, moved, 0, data.rows));
    };
  };
  expect_gradient("d_gate", data.gate, gradients.d_gate, loss(&Swiglu::gate));
  expect_gradient("d_up", data.up, gradients.d_up, loss(&Swiglu::up));
}

void swiglu_invariance(const Candidate& candidate, DType dtype, int rows_of_all, int width) {
  const Swiglu data = make_swiglu(rows_of_all, width);
  const auto first = candidate.make(dtype, 1);
  const std::vector<float> all = swiglu(*first, data, 0, data.rows);
  const SwigluGradients gradients = swiglu_backward(*first, data);
  for (const int threads : thread_counts(candidate)) {
    const auto backend = candidate.make(dtype, threads);
    for (int rows = 1; rows <= 33; ++rows) {
      const int start = (rows * 7) % (data.rows - rows + 1);
      expect_same_bits("h", swiglu(*backend, data, start, rows), rows_of(all, start, rows, data.width));
    }
    const SwigluGradients again = swiglu_backward(*backend, data);
    expect_same_bits("d_gate", again.d_gate, gradients.d_gate);
    expect_same_bits("d_up", again.d_up, gradients.d_up);
  }
}

void gather(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const std::vector<float> x = Random(1).normals(19 * 111);
  const Buffer<float> in(*backend, x);
  for (const std::vector<std::int32_t>& picks : {std::vector<std::int32_t>{}, {18}, {3, 0, 3, 18, 7}}) {
    const Buffer<std::int32_t> rows(*backend, picks);
    const Buffer<float> out(*backend, picks.size() * 111);
    backend->gather_rows(
        {.count = static_cast<int>(picks.size()), .width = 111, .rows = rows.data(), .x = in.data(), .y = out.data()});
    std::vector<float> want;
    for (const int row : picks) want.insert(want.end(), x.begin() + row * 111, x.begin() + (row + 1) * 111);
    expect_same_bits("y", out.read(), want);
  }
}

/// Rows and strides that are and are not multiples of 16 and 4 bytes; each index list present or not.
void copy_rows(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  const std::vector<std::size_t> widths = {48, 4, 6, 4128, 20};
  const std::vector<std::int32_t> picks = {3, 0, 3, 18, 7}, places = {1, 9, 0, 4, 2};
  const Buffer<std::int32_t> from_rows(*backend, picks), to_rows(*backend, places);
  for (const bool picked : {false, true}) {
    for (const bool placed : {false, true}) {
      std::vector<std::unique_ptr<Buffer<std::uint16_t>>> from, to;
      std::vector<CopyRowsArgs::Array> arrays;
      std::vector<std::vector<std::uint16_t>> want;
      for (const std::size_t bytes : widths) {
        const std::size_t width = bytes / 2, stride = width + (bytes == 48 ? 8 : bytes / 4);
        std::vector<std::uint16_t> x(19 * width), y(10 * stride, 7);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::uint16_t>(i * 31 + bytes);
        from.push_back(std::make_unique<Buffer<std::uint16_t>>(*backend, x));
        to.push_back(std::make_unique<Buffer<std::uint16_t>>(*backend, y));
        arrays.push_back({from.back()->data(), to.back()->data(), bytes, 2 * width, 2 * stride});
        for (std::size_t i = 0; i < picks.size(); ++i) {
          const std::size_t row = picked ? picks[i] : i, place = placed ? places[i] : i;
          std::copy_n(x.begin() + row * width, width, y.begin() + place * stride);
        }
        want.push_back(y);
      }
      const auto count = static_cast<int>(picks.size());
      backend->copy_rows({.count = count,
                          .from_rows = picked ? from_rows.data() : nullptr,
                          .to_rows = placed ? to_rows.data() : nullptr,
                          .arrays = arrays});
      for (std::size_t i = 0; i < widths.size(); ++i) expect(to[i]->read() == want[i], "copied rows");
    }
  }
}

void scatter(const Candidate& candidate, DType dtype) {
  const std::vector<std::int32_t> targets = {3, 0, 3, 18, 7, 3};
  const int count = static_cast<int>(targets.size());
  for (const int width : {1, 111, 600}) {
    const std::vector<float> x = Random(1).normals(targets.size() * width);
    const std::vector<float> start = Random(2).normals(19 * static_cast<std::size_t>(width));
    std::vector<float> want = start;
    for (int i = 0; i < count; ++i) {
      for (int c = 0; c < width; ++c) want[targets[i] * width + c] += x[i * width + c];
    }
    for (const int threads : thread_counts(candidate)) {
      const auto backend = candidate.make(dtype, threads);
      const Buffer<std::int32_t> rows(*backend, targets);
      const Buffer<float> in(*backend, x), out(*backend, start);
      backend->scatter_add_rows({.count = count, .width = width, .rows = rows.data(), .x = in.data(), .y = out.data()});
      expect_same_bits("y", out.read(), want);
    }
  }
}

void embed(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const auto& [vocab, width] : {std::pair{1, 1}, {19, 111}, {111, 64}}) {
    std::vector<float> table = Random(1).normals(static_cast<std::size_t>(vocab * width));
    const auto weight = pack(*backend, vocab, width, table);
    for (float& value : table) value = rounded(value, dtype);
    const std::vector<std::int32_t> tokens = {vocab - 1, 0, vocab / 2, 0};
    for (const int rows : {0, 1, 4}) {
      const Buffer<std::int32_t> ids(*backend, tokens);
      const Buffer<float> x(*backend, static_cast<std::size_t>(rows * width));
      backend->embed({.rows = rows, .tokens = ids.data(), .table = weight.get(), .x = x.data()});
      std::vector<float> want;
      for (int m = 0; m < rows; ++m) {
        want.insert(want.end(), table.begin() + tokens[m] * width, table.begin() + (tokens[m] + 1) * width);
      }
      expect_same_bits("x", x.read(), want);
    }
  }
}

}  // namespace

void add_elementwise_tests(Tests& tests) {
  add_for_each_backend(tests, "swiglu: numerics", swiglu_numerics);
  add_for_each_backend(tests, "swiglu: gradient", swiglu_gradient, {DType::f32});
  add_for_each_backend(tests, "swiglu: invariance", [](const Candidate& candidate, DType dtype) {
    swiglu_invariance(candidate, dtype, 64, 111);
    swiglu_invariance(candidate, dtype, 519, 304);
  });
  add_for_each_backend(tests, "gather_rows: exact", gather);
  add_for_each_backend(tests, "copy_rows: exact", copy_rows);
  add_for_each_backend(tests, "scatter_add_rows: exact", scatter);
  add_for_each_backend(tests, "embed: exact", embed);
}

}  // namespace tinylora::test
