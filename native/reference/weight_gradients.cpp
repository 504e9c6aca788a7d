// weight_gradient     dW += dy^T x,  d_bias += sum dy
// lora_gradient       dA += (s R_k)^T x,  dB^T += (z R_k^T)^T dy,  s = dy B
// gain_gradient       d_gain += sum dy * x * inv_rms
// head_gain_gradient  the same for the norms of each query and key head, whose dy is rotated back first
// head_gradient       dW += g^T x,  g = d_logp * inv_temperature * (1[target] - softmax(l))
#include <cmath>

#include "reference/reference.h"

namespace tinylora::reference {
namespace {

/// sums [width] in double, added to `to` at the end.
class Sums {
 public:
  explicit Sums(std::size_t count) : values_(count) {}
  double& operator[](std::size_t index) { return values_[index]; }
  void add_to(float* to) const {
    for (std::size_t i = 0; i < values_.size(); ++i) to[i] = static_cast<float>(double{to[i]} + values_[i]);
  }

 private:
  std::vector<double> values_;
};

}  // namespace

void weight_gradient(DType dtype, const WeightGradientArgs& args) {
  const ActIn dy_all(dtype, args.dy), x_all(dtype, args.x);
  Sums d_weight(args.d_weight ? at(static_cast<std::size_t>(args.out), args.in) : 0);
  Sums d_bias(args.d_bias ? static_cast<std::size_t>(args.out) : 0);
  for (int m = 0; m < args.rows; ++m) {
    const std::vector<float> dy = dy_all.read(at(m, args.out), args.out);
    const std::vector<float> x = x_all.read(at(m, args.in), args.in);
    for (int o = 0; o < args.out; ++o) {
      if (args.d_bias) d_bias[o] += double{dy[o]};
      for (int i = 0; args.d_weight && i < args.in; ++i) d_weight[at(o, args.in) + i] += double{dy[o]} * double{x[i]};
    }
  }
  d_weight.add_to(args.d_weight);
  d_bias.add_to(args.d_bias);
}

void lora_gradient(DType dtype, const LoraGradientArgs& args) {
  const int rank = args.lora.rank;
  const ActIn dy_all(dtype, args.dy), x_all(dtype, args.x);
  Sums d_a(at(static_cast<std::size_t>(rank), args.in)), d_b(at(static_cast<std::size_t>(rank), args.out));
  for (int m = 0; m < args.rows; ++m) {
    const int k = args.lora.adapter[m];
    if (k < 0) continue;
    const std::vector<float> dy = dy_all.read(at(m, args.out), args.out);
    const std::vector<float> x = x_all.read(at(m, args.in), args.in);
    const float* r = args.lora.r + at(k, rank * rank);
    const float* z = args.z + at(m, rank);
    for (int j = 0; j < rank; ++j) {
      double sr = 0, zr = 0;  // (s R)[j], (z R^T)[j]
      for (int i = 0; i < rank; ++i) {
        sr += dot(dy.data(), args.lora.b + at(i, args.out), args.out) * double{r[i * rank + j]};
        zr += double{z[i]} * double{r[j * rank + i]};
      }
      for (int i = 0; i < args.in; ++i) d_a[at(j, args.in) + i] += sr * double{x[i]};
      for (int o = 0; o < args.out; ++o) d_b[at(j, args.out) + o] += zr * double{dy[o]};
    }
  }
  d_a.add_to(args.d_a);
  d_b.add_to(args.d_b);
}

void gain_gradient(const GainGradientArgs& args) {
  Sums d_gain(static_cast<std::size_t>(args.width));
  for (int m = 0; m < args.rows; ++m) {
    const std::size_t row = at(m, args.width);
    for (int i = 0; i < args.width; ++i) {
      d_gain[i] += double{args.dy[row + i]} * double{args.x[row + i]} * double{args.inv_rms[m]};
    }
  }
  d_gain.add_to(args.d_gain);
}

void head_gain_gradient(const HeadGainGradientArgs& args) {
  const RopeStoreBackwardArgs& back = *args.back;
  const SequenceLayout& layout = *back.layout;
  const int dim = back.head_dim;
  // dy [D]: the gradient of one rotated head of row m.
  const auto add = [&](Sums& d_gain, int m, const float* x, std::vector<double> dy) {
    const std::size_t angle = at(layout.position[m], dim / 2);
    rotate_back(dy, back.cos + angle, back.sin + angle);
    const double inv = inverse_rms(x, dim, back.epsilon);
    for (int i = 0; i < dim; ++i) d_gain[i] += dy[i] * double{x[i]} * inv;
  };

  Sums d_q(args.d_q_gain ? static_cast<std::size_t>(dim) : 0), d_k(args.d_k_gain ? static_cast<std::size_t>(dim) : 0);
  for (int m = 0; args.d_q_gain && m < layout.rows; ++m) {
    for (int h = 0; h < back.heads; ++h) {
      const std::size_t head = at(at(m, back.heads) + h, dim);
      add(d_q, m, back.q + head, {back.dq_out + head, back.dq_out + head + dim});
    }
  }
  for (int store = 0; args.d_k_gain && store < layout.stores; ++store) {
    const int m = layout.store_row[store];
    for (int h = 0; h < back.kv_heads; ++h) {
      const float* dy = back.d_keys + at(at(layout.store_slot[store], back.kv_heads) + h, dim);
      add(d_k, m, back.k + at(at(m, back.kv_heads) + h, dim), {dy, dy + dim});
    }
  }
  d_q.add_to(args.d_q_gain);
  d_k.add_to(args.d_k_gain);
}

void head_gradient(DType dtype, const HeadGradientArgs& args) {
  const HeadBackwardArgs& back = *args.back;
  const PlainWeight& weight = plain(back.weight);
  const ActIn x_all(dtype, back.x);
  Sums d_weight(weight.values.size());
  for (int m = 0; m < back.rows; ++m) {
    const std::vector<float> x = x_all.read(at(m, weight.in), weight.in);
    const std::vector<double> logits = row_logits(x, weight, back.inv_temperature[m]);
    const double factor = double{back.d_logp[m]} * double{back.inv_temperature[m]};
    for (int v = 0; v < weight.out; ++v) {
      const double g = factor * ((v == back.target[m] ? 1 : 0) - std::exp(logits[v] - double{back.lse[m]}));
      for (int i = 0; i < weight.in; ++i) d_weight[at(v, weight.in) + i] += g * double{x[i]};
    }
  }
  d_weight.add_to(args.d_weight);
}

}  // namespace tinylora::reference
