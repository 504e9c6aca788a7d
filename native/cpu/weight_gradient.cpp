// weight_gradient: dW += dy^T x through the product kernels, d_bias += sum dy. A thread takes a run of outputs through
// all panels of x^T, so what it packs of dy^T stays its own.
#include <algorithm>

#include "core/error.h"
#include "cpu/cpu_backend.h"
#include "cpu/outer_product.h"

namespace tinylora {
namespace {

template <class T>
void add_columns(int rows, int out, int first, int last, const T* dy, float* d_bias) {
  constexpr int kColumns = 256;
  double sums[kColumns];
  for (int column = first; column < last; column += kColumns) {
    const int count = std::min(kColumns, last - column);
    std::fill_n(sums, count, 0.0);
    for (int m = 0; m < rows; ++m) {
      const T* row = dy + std::ptrdiff_t{m} * out + column;
      for (int i = 0; i < count; ++i) sums[i] += static_cast<double>(to_float(row[i]));
    }
    for (int i = 0; i < count; ++i) {
      d_bias[column + i] = static_cast<float>(static_cast<double>(d_bias[column + i]) + sums[i]);
    }
  }
}

}  // namespace

void CpuBackend::weight_gradient(const WeightGradientArgs& args) {
  check(args.d_weight || args.d_bias, "ERR_ARGUMENT", "weight_gradient: expected d_weight or d_bias, found neither");
  const ProductKernels& kernels = product_;
  // Some blocks an item: the panels of x^T are read once for all of them.
  const int outputs_at_once = 8 * kernels.block;
  const int items = (args.out + outputs_at_once - 1) / outputs_at_once;

  for (int row = 0; row < args.rows; row += kRowsAtOnce) {
    const int rows = std::min(kRowsAtOnce, args.rows - row);
    const std::size_t element = size_of(dtype_);
    const auto* dy = static_cast<const std::byte*>(args.dy) + std::size_t(row) * std::size_t(args.out) * element;
    const auto* x = static_cast<const std::byte*>(args.x) + std::size_t(row) * std::size_t(args.in) * element;
    const PackedColumns columns =
        args.d_weight ? pack_columns(kernels, pool_, scratch_->packed, rows, args.in, x) : PackedColumns{};
    auto* transposed = args.d_weight
                           ? scratch_->columns.at_least<std::byte>(std::size_t(args.out) * std::size_t(rows) * element)
                           : nullptr;
    pool_.run(items, [&](std::int64_t item, int thread) {
      const int first = static_cast<int>(item) * outputs_at_once;
      const int last = std::min(args.out, first + outputs_at_once);
      if (args.d_bias && dtype_ == DType::bf16) {
        add_columns(rows, args.out, first, last, reinterpret_cast<const Bf16*>(dy), args.d_bias);
      } else if (args.d_bias) {
        add_columns(rows, args.out, first, last, reinterpret_cast<const float*>(dy), args.d_bias);
      }
      if (!args.d_weight) return;
      transpose_columns(dtype_, rows, args.out, first, last, dy, transposed);
      add_outer_product(kernels, columns, scratch_->threads[std::size_t(thread)], last - first,
                        transposed + std::size_t(first) * std::size_t(rows) * element,
                        args.d_weight + std::ptrdiff_t{first} * args.in);
    });
  }
}

}  // namespace tinylora
