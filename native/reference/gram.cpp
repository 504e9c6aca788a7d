// The order of ops/gram_matrix.h, written out.
#include <algorithm>
#include <vector>

#include "reference/reference.h"

namespace tinylora::reference {
namespace {

class PlainGram final : public GramMatrix {
 public:
  PlainGram(int out, int in, const RowReader& read_row)
      : GramMatrix(out, in),
        values_(static_cast<std::size_t>(rows * width)),
        y_(static_cast<std::size_t>(rows * kGramVectors)) {
    for (int row = 0; row < out; ++row) read_row(row, values_.data() + row * width);
  }

  void multiply(const double* x, double* z) override {
    for (std::int64_t row = 0; row < rows; ++row) {
      for (int j = 0; j < kGramVectors; ++j) y_[index(row * kGramVectors + j)] = image(row, x + j * width);
    }
    for (int j = 0; j < kGramVectors; ++j) {
      for (std::int64_t column = 0; column < width; ++column) {
        double sum = piece_sum(0, j, column);
        for (std::int64_t piece = 1; piece < pieces; ++piece) sum += piece_sum(piece, j, column);
        z[j * width + column] = sum;
      }
    }
  }

  const double* y() override { return y_.data(); }

 private:
  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
  double w(std::int64_t row, std::int64_t column) const { return double{values_[index(row * width + column)]}; }

  double image(std::int64_t row, const double* x) const {
    double lane[kGramLanes] = {};
    for (std::int64_t i = 0; i < width; ++i) lane[i % kGramLanes] += w(row, i) * x[i];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
  }

  double piece_sum(std::int64_t piece, int j, std::int64_t column) const {
    const auto term = [&](std::int64_t row) { return w(row, column) * y_[index(row * kGramVectors + j)]; };
    double sum = 0;
    for (std::int64_t row = piece * piece_rows; row < std::min(rows, (piece + 1) * piece_rows); row += kGramRows) {
      sum += (term(row) + term(row + 1)) + (term(row + 2) + term(row + 3));
    }
    return sum;
  }

  std::vector<float> values_;  // [rows, width]
  std::vector<double> y_;      // [rows, 4]
};

}  // namespace

std::unique_ptr<GramMatrix> gram_matrix(int out, int in, const RowReader& read_row) {
  return std::make_unique<PlainGram>(out, in, read_row);
}

}  // namespace tinylora::reference
