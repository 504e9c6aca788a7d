// lora_gradient: dA += (s R_k)^T x, dB^T += (z R_k^T)^T dy. Packing dy gives s and s R_k, as in linear_backward. A
// thread takes a run of columns of x or dy through all rows.
#include <algorithm>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/product.h"

namespace tinylora {
namespace {

constexpr int kColumns = 64;

/// d[j, column] += sum over rows of low[m, j] x[m, column], columns first .. first + kColumns.
template <class T>
void add_columns(int rows, int width, int rank, int first, const float* low, const T* x, float* d) {
  const int count = std::min(kColumns, width - first);
  float sums[kMaxRank][kColumns] = {};
  float values[kColumns];
  for (int m = 0; m < rows; ++m, low += rank) {
    const T* row = x + std::ptrdiff_t{m} * width + first;
    for (int i = 0; i < count; ++i) values[i] = to_float(row[i]);
    for (int j = 0; j < rank; ++j) {
      for (int i = 0; i < count; ++i) sums[j][i] += low[j] * values[i];
    }
  }
  for (int j = 0; j < rank; ++j) {
    for (int i = 0; i < count; ++i) d[std::ptrdiff_t{j} * width + first + i] += sums[j][i];
  }
}

/// z R_k^T of each row; zeros without an adapter.
void turn_forward(const LoraArgs& lora, int row, int rows, const float* z, float* low) {
  for (int m = 0; m < rows; ++m, z += lora.rank, low += lora.rank) {
    const int k = lora.adapter[row + m];
    const float* r = lora.r + std::ptrdiff_t{std::max(k, 0)} * lora.rank * lora.rank;
    for (int i = 0; i < lora.rank; ++i) {
      low[i] = 0;
      for (int j = 0; k >= 0 && j < lora.rank; ++j) low[i] += z[j] * r[i * lora.rank + j];
    }
  }
}

}  // namespace

void CpuBackend::lora_gradient(const LoraGradientArgs& args) {
  const LoraArgs& lora = args.lora;
  check(lora.rank >= 1 && lora.rank <= kMaxRank, "ERR_ARGUMENT", "lora_gradient: rank: expected 1 to ", kMaxRank,
        ", found ", lora.rank);
  const auto add = [&](int rows, int width, int first, const float* low, const std::byte* x, float* d) {
    if (dtype_ == DType::bf16) {
      add_columns(rows, width, lora.rank, first, low, reinterpret_cast<const Bf16*>(x), d);
    } else {
      add_columns(rows, width, lora.rank, first, low, reinterpret_cast<const float*>(x), d);
    }
  };
  const int in_items = (args.in + kColumns - 1) / kColumns;
  const int out_items = (args.out + kColumns - 1) / kColumns;

  for (int row = 0; row < args.rows; row += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, args.rows - row);
    const auto numbers = std::size_t(rows) * std::size_t(lora.rank);
    const auto* x = static_cast<const std::byte*>(args.x) + std::size_t(row) * std::size_t(args.in) * size_of(dtype_);
    const auto* dy =
        static_cast<const std::byte*>(args.dy) + std::size_t(row) * std::size_t(args.out) * size_of(dtype_);
    float* s = scratch_->z.at_least<float>(2 * numbers);
    float* forward = s + numbers;
    const LowRank back{lora.rank, lora.b, lora.a, lora.r, true, lora.adapter + row};
    const LowRankTask task{back, s, scratch_->low.at_least<float>(numbers),
                           scratch_->active.at_least<std::uint8_t>(std::size_t(rows))};
    pack_rows(product_, pool_, *scratch_, rows, args.out, dy, std::span(&task, 1));
    turn_forward(lora, row, rows, args.z + std::ptrdiff_t{row} * lora.rank, forward);
    pool_.run(in_items + out_items, [&](std::int64_t item, int) {
      const int place = static_cast<int>(item);
      if (place < in_items) {
        add(rows, args.in, place * kColumns, task.low, x, args.d_a);
      } else {
        add(rows, args.out, (place - in_items) * kColumns, forward, dy, args.d_b);
      }
    });
  }
}

}  // namespace tinylora
