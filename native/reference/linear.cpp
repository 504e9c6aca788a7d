// embed            x = table[token]
// linear           z = x A^T,  y = residual + x W^T + bias + (z R_k^T) B^T
// linear_backward  s = dy B,  dx (+)= dy W + (s R_k) A,  dR_k += s^T z  (rows ascending), and so that of each part
// A [r, in], B transposed [r, out], R_k [r, r]; a row with adapter -1 has no update.
#include <algorithm>

#include "reference/reference.h"

namespace tinylora::reference {

void embed(const EmbedArgs& args) {
  const PlainWeight& table = plain(args.table);
  for (int m = 0; m < args.rows; ++m) {
    std::copy_n(table.row(args.tokens[m]), table.in, args.x + at(m, table.in));
  }
}

void linear(DType dtype, const LinearArgs& args) {
  const PlainWeight& weight = plain(args.weight);
  const LoraArgs& lora = args.lora;
  const int rank = lora.rank;
  const ActIn x_all(dtype, args.x);
  const ActOut y_act(dtype, args.y);
  auto* y_float = static_cast<float*>(args.y);

  for (int m = 0; m < args.rows; ++m) {
    const std::vector<float> x = x_all.read(at(m, weight.in), weight.in);

    double rz[kMaxRank] = {};  // R_k z
    if (rank > 0) {
      float* z = args.z + at(m, rank);
      for (int j = 0; j < rank; ++j) z[j] = static_cast<float>(dot(x.data(), lora.a + at(j, weight.in), weight.in));
      if (lora.adapter[m] >= 0) {
        const float* r = lora.r + at(lora.adapter[m], rank * rank);
        for (int i = 0; i < rank; ++i) rz[i] = dot(r + at(i, rank), z, rank);
      }
    }

    for (int o = 0; o < weight.out; ++o) {
      double sum = dot(x.data(), weight.row(o), weight.in);
      if (args.bias != nullptr) sum += double{args.bias[o]};
      for (int i = 0; i < rank; ++i) sum += rz[i] * double{lora.b[at(i, weight.out) + o]};

      const std::size_t index = at(m, weight.out) + static_cast<std::size_t>(o);
      if (!args.y_float) {
        y_act.set(index, sum);
      } else {
        y_float[index] = static_cast<float>(args.residual ? double{args.residual[index]} + sum : sum);
      }
    }
  }
}

void linear_backward(DType dtype, const LinearBackwardArgs& args) {
  const PlainWeight& weight = plain(args.weight);
  const LoraArgs& lora = args.lora;
  const int rank = lora.rank;
  const ActIn dy_all(dtype, args.dy);
  int part = 0;

  for (int m = 0; m < args.rows; ++m) {
    const std::vector<float> dy = dy_all.read(at(m, weight.out), weight.out);
    std::vector<double> dx(static_cast<std::size_t>(weight.in));
    for (int o = 0; o < weight.out; ++o) {
      const float* row = weight.row(o);
      for (int i = 0; i < weight.in; ++i) dx[i] += double{dy[o]} * double{row[i]};
    }

    if (rank > 0 && lora.adapter[m] >= 0) {
      const int k = lora.adapter[m];
      const float* r = lora.r + at(k, rank * rank);
      double* d_r = args.d_r + at(k, rank * rank);
      const float* z = args.z + at(m, rank);
      while (part < args.parts.count && args.parts.rows[part + 1] <= m) ++part;
      const bool in_part = part < args.parts.count && args.parts.rows[part] <= m;
      double* part_d_r = in_part ? args.parts.d_r + at(part, rank * rank) : nullptr;
      for (int i = 0; i < rank; ++i) {
        const double s = dot(dy.data(), lora.b + at(i, weight.out), weight.out);
        for (int j = 0; j < rank; ++j) {
          d_r[i * rank + j] += s * double{z[j]};
          if (in_part) part_d_r[i * rank + j] += s * double{z[j]};
          const double sr = s * double{r[i * rank + j]};
          const float* a = lora.a + at(j, weight.in);
          for (int n = 0; n < weight.in; ++n) dx[n] += sr * double{a[n]};
        }
      }
    }

    float* out = args.dx + at(m, weight.in);
    for (int i = 0; i < weight.in; ++i) out[i] = static_cast<float>(args.add ? double{out[i]} + dx[i] : dx[i]);
  }
}

}  // namespace tinylora::reference
