#include "linear_case.h"

#include <cmath>
#include <optional>

namespace tinylora::test {
namespace {

/// The update of some rows on a backend.
struct DeviceLora {
  DeviceLora(Backend& backend, const LinearCase& data, int first, int rows)
      : a(backend, data.a),
        b(backend, data.b),
        r(backend, data.r),
        adapter(backend, rows_of(data.adapter, first, rows, 1)) {
    args = {.rank = data.shape.rank,
            .a = a.data(),
            .b = b.data(),
            .r = r.data(),
            .adapter = adapter.data(),
            .adapters = data.shape.adapters};
  }
  Buffer<float> a, b, r;
  Buffer<std::int32_t> adapter;
  LoraArgs args;
};

}  // namespace

LinearCase make_linear(const LinearShape& shape) {
  Random random(static_cast<std::uint64_t>(shape.rows * 31 + shape.in * 17 + shape.out * 7 + shape.rank));
  const auto count = [](int rows, int width) {
    return static_cast<std::size_t>(rows) * static_cast<std::size_t>(width);
  };
  const double unit = 1 / std::sqrt(static_cast<double>(shape.in));
  LinearCase data{.shape = shape,
                  .x = random.normals(count(shape.rows, shape.in)),
                  .w = random.normals(count(shape.out, shape.in), unit),
                  .bias = random.normals(static_cast<std::size_t>(shape.out)),
                  .y = random.normals(count(shape.rows, shape.out)),
                  .a = random.normals(count(shape.rank, shape.in), unit),
                  .b = random.normals(count(shape.rank, shape.out)),
                  .r = random.normals(count(shape.adapters * shape.rank, shape.rank), 1 / std::sqrt(shape.rank + 1.0)),
                  .adapter = {},
                  .dy = random.normals(count(shape.rows, shape.out), 1 / std::sqrt(static_cast<double>(shape.out))),
                  .dx = random.normals(count(shape.rows, shape.in))};
  for (int m = 0; m < shape.rows; ++m) data.adapter.push_back(random.below(shape.adapters + 1) - 1);
  return data;
}

namespace {

/// One product of x and what it writes.
class Product {
 public:
  Product(Backend& backend, const Weight& weight, const LinearCase& data, int first, int rows, const ActBuffer& x)
      : bias_(backend, data.bias),
        lora_(backend, data, first, rows),
        z_(backend, static_cast<std::size_t>(rows * data.shape.rank)) {
    const LinearShape& shape = data.shape;
    if (shape.y_float) {
      y_float_.emplace(backend, rows_of(data.y, first, rows, shape.out));
    } else {
      y_act_.emplace(backend, static_cast<std::size_t>(rows * shape.out));
    }
    args.rows = rows;
    args.x = x.data();
    args.weight = &weight;
    if (shape.bias) args.bias = bias_.data();
    if (shape.rank > 0) {
      args.lora = lora_.args;
      args.z = z_.data();
    }
    args.y = y_float_ ? y_float_->data() : y_act_->data();
    args.y_float = shape.y_float;
    if (shape.add) args.residual = y_float_->data();
  }
  LinearResult read() const { return {y_float_ ? y_float_->read() : y_act_->read(), z_.read()}; }

  LinearArgs args;

 private:
  Buffer<float> bias_;
  DeviceLora lora_;
  Buffer<float> z_;
  std::optional<Buffer<float>> y_float_;
  std::optional<ActBuffer> y_act_;
};

}  // namespace

LinearResult linear(Backend& backend, const Weight& weight, const LinearCase& data, int first, int rows) {
  const ActBuffer x(backend, rows_of(data.x, first, rows, data.shape.in));
  const Product product(backend, weight, data, first, rows, x);
  backend.linear(product.args);
  return product.read();
}

std::vector<LinearResult> linear_together(Backend& backend, const std::vector<LinearCase>& cases) {
  const ActBuffer x(backend, cases.front().x);
  std::vector<std::unique_ptr<Weight>> weights;
  std::vector<std::unique_ptr<Product>> products;
  std::vector<LinearArgs> args;
  for (const LinearCase& data : cases) {
    weights.push_back(pack(backend, data));
    products.push_back(std::make_unique<Product>(backend, *weights.back(), data, 0, data.shape.rows, x));
    args.push_back(products.back()->args);
  }
  backend.linear(args);
  std::vector<LinearResult> results;
  for (const auto& product : products) results.push_back(product->read());
  return results;
}

LinearGradients linear_backward(Backend& backend, const Weight& weight, const LinearCase& data,
                                const std::vector<float>& z_values) {
  const LinearShape& shape = data.shape;
  const ActBuffer dy(backend, data.dy);
  const DeviceLora lora(backend, data, 0, shape.rows);
  const Buffer<float> z(backend, z_values), dx(backend, data.dx);
  const Buffer<double> d_r(backend, data.r.size(), 0.5);

  LinearBackwardArgs args;
  args.rows = shape.rows;
  args.dy = dy.data();
  args.weight = &weight;
  if (shape.rank > 0) {
    args.lora = lora.args;
    args.z = z.data();
    args.d_r = d_r.data();
  }
  args.dx = dx.data();
  args.add = shape.add;
  backend.linear_backward(args);

  std::vector<float> d_r_values;
  for (const double value : d_r.read()) d_r_values.push_back(static_cast<float>(value - 0.5));
  return {dx.read(), d_r_values};
}

}  // namespace tinylora::test
