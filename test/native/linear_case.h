// One product with its update and everything it reads: what linear_test.cpp and lora_test.cpp run.
#pragma once

#include "support.h"

namespace tinylora::test {

struct LinearShape {
  int rows = 1, in = 1, out = 1;
  int rank = 0, adapters = 3;
  bool bias = false, y_float = false, add = false;
};

struct LinearCase {
  LinearShape shape;
  std::vector<float> x, w, bias, y;   // y: what the result is added to
  std::vector<float> a, b, r;         // the update, as LoraArgs has it
  std::vector<std::int32_t> adapter;  // [M], -1 .. adapters - 1
  std::vector<float> dy, dx;          // dx: what the gradient is added to
};

/// w of deviation 1 / sqrt(in), so that y is about 1; the update is about as large as the base product.
LinearCase make_linear(const LinearShape& shape);

struct LinearResult {
  std::vector<float> y, z;
};
struct LinearGradients {
  std::vector<float> dx, d_r;
};

/// Rows first .. first + rows - 1 of the case.
LinearResult linear(Backend& backend, const Weight& weight, const LinearCase& data, int first, int rows);
/// The whole case; z as the reference computes it.
LinearGradients linear_backward(Backend& backend, const Weight& weight, const LinearCase& data,
                                const std::vector<float>& z);

inline std::unique_ptr<Weight> pack(Backend& backend, const LinearCase& data) {
  return pack(backend, data.shape.out, data.shape.in, data.w);
}
inline LinearResult linear(Backend& backend, const LinearCase& data) {
  return linear(backend, *pack(backend, data), data, 0, data.shape.rows);
}
/// Products of the first case's x in one call.
std::vector<LinearResult> linear_together(Backend& backend, const std::vector<LinearCase>& cases);

}  // namespace tinylora::test
