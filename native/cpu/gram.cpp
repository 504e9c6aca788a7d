// W^T W times four vectors, for the SVD (ops/gram_matrix.h): W stays in memory in fp32; each piece of its rows makes a
// partial sum on one thread, and the pieces are added up in order.
#include <algorithm>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/gram_loops.h"

namespace tinylora {
namespace {

class CpuGram final : public GramMatrix {
 public:
  CpuGram(int out, int in, const RowReader& read_row, ThreadPool& pool)
      : GramMatrix(out, in),
        values_(static_cast<std::size_t>(rows * width)),
        y_(static_cast<std::size_t>(rows * kGramVectors)),
        partial_(static_cast<std::size_t>(pieces * kGramVectors * width)),
        product_(gram_product()),
        pool_(pool) {
    pool_.run(out, [&](std::int64_t row, int) { read_row(static_cast<int>(row), values_.data() + row * width); });
  }

  void multiply(const double* x, double* z) override {
    std::fill(partial_.begin(), partial_.end(), 0.0);
    const std::int64_t size = kGramVectors * width;
    pool_.run(pieces, [&](std::int64_t piece, int) {
      const std::int64_t first = piece * piece_rows;
      product_(values_.data() + first * width, std::min(piece_rows, rows - first), width, x,
               y_.data() + first * kGramVectors, partial_.data() + piece * size);
    });
    std::copy_n(partial_.data(), size, z);
    for (std::int64_t piece = 1; piece < pieces; ++piece) {
      const double* part = partial_.data() + piece * size;
      for (std::int64_t i = 0; i < size; ++i) z[i] += part[i];
    }
  }

  const double* y() override { return y_.data(); }

 private:
  std::vector<float> values_;    // [rows, width]
  std::vector<double> y_;        // [rows, 4]
  std::vector<double> partial_;  // [pieces, 4, width]
  GramProduct product_;
  ThreadPool& pool_;
};

}  // namespace

std::unique_ptr<GramMatrix> CpuBackend::gram_matrix(int out, int in, const RowReader& read_row, ThreadPool& pool) {
  return std::make_unique<CpuGram>(out, in, read_row, pool);
}

}  // namespace tinylora
