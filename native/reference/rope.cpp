// rope_store           q_out = rope(norm(q)), keys[slot] = rope(norm(k)), values[slot] = v;  norm only with gains
// rope_store_backward  the transposed rotation, then the norm's gradient; dk, dv sum over the slots a row was stored in
// rope rotates each pair (i, i + D/2) by the row's angle: (a cos - b sin, b cos + a sin); its transpose rotates back.
#include "reference/reference.h"

namespace tinylora::reference {
namespace {

/// rope(norm(x)) of one head.
std::vector<double> rotated(const float* x, const float* gain, float epsilon, const float* cos, const float* sin,
                            int dim) {
  std::vector<double> y(x, x + dim);
  if (gain != nullptr) {
    const double inv = inverse_rms(x, dim, epsilon);
    for (int i = 0; i < dim; ++i) y[i] *= inv * double{gain[i]};
  }
  const int half = dim / 2;
  for (int i = 0; i < half; ++i) {
    const double a = y[i], b = y[i + half];
    const double c = cos[i], s = sin[i];
    y[i] = a * c - b * s;
    y[i + half] = b * c + a * s;
  }
  return y;
}

/// The gradient of x from the gradient of rotated(x); x is read only with a gain.
std::vector<double> rotated_backward(std::vector<double> dy, const float* x, const float* gain, float epsilon,
                                     const float* cos, const float* sin, int dim) {
  rotate_back(dy, cos, sin);
  if (gain == nullptr) return dy;
  return norm_gradient(x, gain, inverse_rms(x, dim, epsilon), dy.data(), dim);
}

}  // namespace

void rotate_back(std::vector<double>& dy, const float* cos, const float* sin) {
  const std::size_t half = dy.size() / 2;
  for (std::size_t i = 0; i < half; ++i) {
    const double a = dy[i], b = dy[i + half];
    const double c = cos[i], s = sin[i];
    dy[i] = a * c + b * s;
    dy[i + half] = b * c - a * s;
  }
}

void rope_store(DType dtype, const RopeStoreArgs& args) {
  const SequenceLayout& layout = *args.layout;
  const int dim = args.head_dim;
  const ActOut q_out(dtype, args.q_out), keys(dtype, args.pages.keys), values(dtype, args.pages.values);

  for (int m = 0; m < layout.rows; ++m) {
    const std::size_t angle = at(layout.position[m], dim / 2);
    for (int h = 0; h < args.heads; ++h) {
      const std::size_t index = at(at(m, args.heads) + h, dim);
      const auto y = rotated(args.q + index, args.q_gain, args.epsilon, args.cos + angle, args.sin + angle, dim);
      for (int i = 0; i < dim; ++i) q_out.set(index + i, y[i]);
    }
  }

  for (int store = 0; store < layout.stores; ++store) {
    const int m = layout.store_row[store];
    const std::size_t angle = at(layout.position[m], dim / 2);
    for (int h = 0; h < args.kv_heads; ++h) {
      const std::size_t index = at(at(m, args.kv_heads) + h, dim);
      const std::size_t slot = page_at(layout.store_slot[store], h, args.kv_heads, dim);
      const auto y = rotated(args.k + index, args.k_gain, args.epsilon, args.cos + angle, args.sin + angle, dim);
      for (int i = 0; i < dim; ++i) {
        keys.set(slot + i, y[i]);
        values.set(slot + i, double{args.v[index + i]});
      }
    }
  }
}

void rope_store_backward(DType dtype, const RopeStoreBackwardArgs& args) {
  const SequenceLayout& layout = *args.layout;
  const int dim = args.head_dim;
  const int kv_width = args.kv_heads * dim;
  const ActOut dq(dtype, args.dq), dk(dtype, args.dk), dv(dtype, args.dv);

  for (int m = 0; m < layout.rows; ++m) {
    const std::size_t angle = at(layout.position[m], dim / 2);
    for (int h = 0; h < args.heads; ++h) {
      const std::size_t index = at(at(m, args.heads) + h, dim);
      const std::vector<double> dy(args.dq_out + index, args.dq_out + index + dim);
      const auto dx =
          rotated_backward(dy, args.q + index, args.q_gain, args.epsilon, args.cos + angle, args.sin + angle, dim);
      for (int i = 0; i < dim; ++i) dq.set(index + i, dx[i]);
    }
  }

  // The gradients of stored keys and values, gathered to the rows they came from.
  std::vector<double> d_keys(at(layout.rows, kv_width)), d_values(at(layout.rows, kv_width));
  for (int store = 0; store < layout.stores; ++store) {
    const std::size_t row = at(layout.store_row[store], kv_width), slot = at(layout.store_slot[store], kv_width);
    for (int i = 0; i < kv_width; ++i) {
      d_keys[row + i] += double{args.d_keys[slot + i]};
      d_values[row + i] += double{args.d_values[slot + i]};
    }
  }
  for (int m = 0; m < layout.rows; ++m) {
    const std::size_t angle = at(layout.position[m], dim / 2);
    for (int h = 0; h < args.kv_heads; ++h) {
      const std::size_t index = at(at(m, args.kv_heads) + h, dim);
      const std::vector<double> dy(d_keys.data() + index, d_keys.data() + index + dim);
      const auto dx =
          rotated_backward(dy, args.k + index, args.k_gain, args.epsilon, args.cos + angle, args.sin + angle, dim);
      for (int i = 0; i < dim; ++i) {
        dk.set(index + i, dx[i]);
        dv.set(index + i, d_values[index + i]);
      }
    }
  }
}

}  // namespace tinylora::reference
