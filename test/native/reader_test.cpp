// Ops that are told of the products that read their output: what these products make has the bits it has without.
#include <optional>

#include "linear_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

struct Case {
  int rows, width, rank;
};
/// Widths that wide moves fit and others; a rank that the row is gone through for several times; rows enough for tiles,
/// the last of them not full.
const std::vector<Case> kCases = {{5, 64, 2}, {3, 2056, 1}, {4, 111, 3}, {9, 72, 16}, {517, 304, 16}, {513, 265, 2}};

/// Products of one x, of random weights, on a backend.
class Products {
 public:
  Products(Backend& backend, const Case& size, int count) : size_(size) {
    for (int i = 0; i < count; ++i) {
      LinearShape shape{.rows = size.rows, .in = size.width, .out = 24 + 8 * i, .rank = size.rank, .y_float = true};
      parts_.emplace_back(new Part(backend, make_linear(shape)));
    }
  }

  std::vector<LinearArgs> args(const void* x) const {
    std::vector<LinearArgs> all;
    for (const auto& part : parts_) {
      all.push_back({.rows = size_.rows,
                     .x = x,
                     .weight = part->weight.get(),
                     .lora = part->lora(),
                     .z = part->z.data(),
                     .y = part->y.data(),
                     .y_float = true});
    }
    return all;
  }
  /// z and y of all products, one behind the other.
  std::vector<float> results() const {
    std::vector<float> all;
    for (const auto& part : parts_) {
      for (const Buffer<float>* buffer : {&part->z, &part->y}) {
        const std::vector<float> values = buffer->read();
        all.insert(all.end(), values.begin(), values.end());
      }
    }
    return all;
  }

 private:
  struct Part {
    Part(Backend& backend, const LinearCase& data)
        : shape(data.shape),
          weight(pack(backend, data)),
          a(backend, data.a),
          b(backend, data.b),
          r(backend, data.r),
          adapter(backend, data.adapter),
          z(backend, static_cast<std::size_t>(shape.rows * shape.rank)),
          y(backend, static_cast<std::size_t>(shape.rows * shape.out)) {}
    LoraArgs lora() const {
      return {.rank = shape.rank,
              .a = a.data(),
              .b = b.data(),
              .r = r.data(),
              .adapter = adapter.data(),
              .adapters = shape.adapters};
    }
    LinearShape shape;
    std::unique_ptr<Weight> weight;
    Buffer<float> a, b, r;
    Buffer<std::int32_t> adapter;
    Buffer<float> z, y;
  };
  Case size_;
  std::vector<std::unique_ptr<Part>> parts_;
};

void forward(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const Case& size : kCases) {
    Random random(static_cast<std::uint64_t>(size.width));
    const auto count = static_cast<std::size_t>(size.rows * size.width);
    const Buffer<float> x(*backend, random.normals(count)), gain(*backend, random.normals(std::size_t(size.width)));
    const ActBuffer gate(*backend, random.normals(count)), up(*backend, random.normals(count));
    const Buffer<float> inv_rms(*backend, static_cast<std::size_t>(size.rows));
    for (const bool norm : {true, false}) {
      std::optional<std::vector<float>> expected, expected_output;
      for (const bool told : {false, true}) {
        const ActBuffer output(*backend, count);
        const Products products(*backend, size, norm ? 3 : 1);
        std::vector<LinearArgs> args = products.args(output.data());
        const Readers readers = told ? Readers{args.data(), static_cast<int>(args.size())} : Readers{};
        if (norm) {
          backend->rms_norm({.rows = size.rows,
                             .width = size.width,
                             .epsilon = 1e-5F,
                             .x = x.data(),
                             .gain = gain.data(),
                             .y = output.data(),
                             .inv_rms = inv_rms.data(),
                             .readers = readers});
        } else {
          backend->swiglu({.rows = size.rows,
                           .width = size.width,
                           .gate = gate.data(),
                           .up = up.data(),
                           .h = output.data(),
                           .readers = readers});
        }
        backend->linear(args);
        if (!expected) expected = products.results();
        if (!expected_output) expected_output = output.read();
        expect_same_bits(norm ? "rms_norm" : "swiglu", output.read(), *expected_output);
        expect_same_bits(norm ? "products of rms_norm" : "product of swiglu", products.results(), *expected);
      }
    }
  }
}

/// dx and dR of the product that reads a gradient [rows, width].
struct BackwardProduct {
  BackwardProduct(Backend& owner, const Case& size)
      : backend(owner),
        data(make_linear({.rows = size.rows, .in = 40, .out = size.width, .rank = size.rank})),
        weight(pack(owner, data)),
        a(owner, data.a),
        b(owner, data.b),
        r(owner, data.r),
        z(owner, rows_of(data.x, 0, size.rows, size.rank)),
        adapter(owner, data.adapter),
        dx(owner, data.x.size()),
        d_r(owner, data.r.size()) {}

  LinearBackwardArgs args(const void* dy) const {
    return {.rows = data.shape.rows,
            .dy = dy,
            .weight = weight.get(),
            .lora = {.rank = data.shape.rank,
                     .a = a.data(),
                     .b = b.data(),
                     .r = r.data(),
                     .adapter = adapter.data(),
                     .adapters = data.shape.adapters},
            .z = z.data(),
            .d_r = d_r.data(),
            .dx = dx.data()};
  }
  std::vector<float> results(const LinearBackwardArgs& with) const {
    backend.linear_backward(with);
    std::vector<float> all = dx.read();
    for (const double value : d_r.read()) all.push_back(static_cast<float>(value));
    return all;
  }

  Backend& backend;
  LinearCase data;
  std::unique_ptr<Weight> weight;
  Buffer<float> a, b, r, z;
  Buffer<std::int32_t> adapter;
  Buffer<float> dx;
  Buffer<double> d_r;
};

void backward(const Candidate& candidate, DType dtype) {
  const auto backend = candidate.make(dtype, 2);
  for (const Case& size : kCases) {
    Random random(static_cast<std::uint64_t>(size.width));
    const auto count = static_cast<std::size_t>(size.rows * size.width);
    const Buffer<float> gradient(*backend, random.normals(count));
    const ActBuffer gate(*backend, random.normals(count)), up(*backend, random.normals(count));
    std::vector<std::vector<float>> expected;
    for (const bool told : {false, true}) {
      const ActBuffer cast(*backend, count), d_gate(*backend, count), d_up(*backend, count);
      std::vector<std::vector<float>> results;
      const BackwardProduct of_cast(*backend, size), of_gate(*backend, size), of_up(*backend, size);
      LinearBackwardArgs alone = of_cast.args(cast.data());
      backend->cast({.count = static_cast<std::int64_t>(count),
                     .x = gradient.data(),
                     .y = cast.data(),
                     .reader = told ? &alone : nullptr});
      results.push_back(of_cast.results(alone));
      LinearBackwardArgs both[] = {of_gate.args(d_gate.data()), of_up.args(d_up.data())};
      backend->swiglu_backward({.rows = size.rows,
                                .width = size.width,
                                .gate = gate.data(),
                                .up = up.data(),
                                .dh = gradient.data(),
                                .d_gate = d_gate.data(),
                                .d_up = d_up.data(),
                                .readers = told ? both : nullptr});
      results.push_back(of_gate.results(both[0]));
      results.push_back(of_up.results(both[1]));
      results.insert(results.end(), {cast.read(), d_gate.read(), d_up.read()});
      if (expected.empty()) expected = results;
      for (std::size_t i = 0; i < results.size(); ++i) {
        expect_same_bits("result " + std::to_string(i), results[i], expected[i]);
      }
    }
  }
}

}  // namespace

void add_reader_tests(Tests& tests) {
  add_for_each_backend(tests, "readers: z made by the op before", forward);
  add_for_each_backend(tests, "readers: s made by the op before", backward);
}

}  // namespace tinylora::test
