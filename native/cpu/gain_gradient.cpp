// gain_gradient       d_gain += sum dy * x * inv_rms; the threads share out columns
// head_gain_gradient  the same over all heads of all rows: sums of fixed runs of rows, added up in their order
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/attention_kernels.h"
#include "cpu/cpu_backend.h"

namespace tinylora {

void CpuBackend::gain_gradient(const GainGradientArgs& args) {
  constexpr int kColumns = 64;
  pool_.run((args.width + kColumns - 1) / kColumns, [&](std::int64_t item, int) {
    const int first = static_cast<int>(item) * kColumns;
    const int count = std::min(kColumns, args.width - first);
    double sums[kColumns] = {};
    for (int m = 0; m < args.rows; ++m) {
      const std::ptrdiff_t place = std::ptrdiff_t{m} * args.width + first;
      const double inv = static_cast<double>(args.inv_rms[m]);
      for (int i = 0; i < count; ++i) {
        sums[i] += static_cast<double>(args.dy[place + i]) * static_cast<double>(args.x[place + i]) * inv;
      }
    }
    for (int i = 0; i < count; ++i) {
      args.d_gain[first + i] = static_cast<float>(static_cast<double>(args.d_gain[first + i]) + sums[i]);
    }
  });
}

namespace {

/// sum [D] += turn_back(dy) * x * inv_rms of one head.
void add_head(const RopeStoreBackwardArgs& back, int row, const float* x, const float* dy, double* sum) {
  const int dim = back.head_dim;
  const int half = dim / 2;
  const std::ptrdiff_t angle = static_cast<std::ptrdiff_t>(back.layout->position[row]) * half;
  double squares = 0;
  for (int i = 0; i < dim; ++i) squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double inv = 1 / std::sqrt(squares / dim + static_cast<double>(back.epsilon));
  for (int i = 0; i < half; ++i) {
    const auto a = static_cast<double>(dy[i]), b = static_cast<double>(dy[i + half]);
    const auto c = static_cast<double>(back.cos[angle + i]), s = static_cast<double>(back.sin[angle + i]);
    sum[i] += (a * c + b * s) * static_cast<double>(x[i]) * inv;
    sum[i + half] += (b * c - a * s) * static_cast<double>(x[i + half]) * inv;
  }
}

/// d_gain += the sums of add(i, sum) over i < count.
template <class Add>
void sum_runs(ThreadPool& pool, int count, int dim, float* d_gain, const Add& add) {
  constexpr int kRun = 64;
  const int runs = (count + kRun - 1) / kRun;
  std::vector<double> sums(std::size_t(runs) * std::size_t(dim));
  pool.run(runs, [&](std::int64_t run, int) {
    const int first = static_cast<int>(run) * kRun;
    for (int i = first; i < std::min(first + kRun, count); ++i) add(i, sums.data() + run * dim);
  });
  for (int i = 0; i < dim; ++i) {
    double total = static_cast<double>(d_gain[i]);
    for (int run = 0; run < runs; ++run) total += sums[std::size_t(run) * std::size_t(dim) + std::size_t(i)];
    d_gain[i] = static_cast<float>(total);
  }
}

}  // namespace

void CpuBackend::head_gain_gradient(const HeadGainGradientArgs& args) {
  const RopeStoreBackwardArgs& back = *args.back;
  const SequenceLayout& layout = *back.layout;
  const int dim = back.head_dim;
  if (args.d_q_gain) {
    sum_runs(pool_, layout.rows, dim, args.d_q_gain, [&](int m, double* sum) {
      const std::ptrdiff_t row = std::ptrdiff_t{m} * back.heads * dim;
      for (int h = 0; h < back.heads * dim; h += dim) add_head(back, m, back.q + row + h, back.dq_out + row + h, sum);
    });
  }
  if (args.d_k_gain) {
    sum_runs(pool_, layout.stores, dim, args.d_k_gain, [&](int store, double* sum) {
      const std::ptrdiff_t row = std::ptrdiff_t{layout.store_row[store]} * back.kv_heads * dim;
      const std::ptrdiff_t slot = std::ptrdiff_t{layout.store_slot[store]} * back.kv_heads * dim;
      for (int h = 0; h < back.kv_heads * dim; h += dim) {
        add_head(back, layout.store_row[store], back.k + row + h, back.d_keys + slot + h, sum);
      }
    });
  }
}

}  // namespace tinylora
