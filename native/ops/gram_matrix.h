// z = W^T W x for four vectors x at a time, in which the truncated SVD (engine/svd.h) spends its time. Made by
// Backend::gram_matrix.
//
// Every backend gives the same bits, so that adapters, caches and checkpoints, which depend on an SVD, can move between
// devices. All sums are in double over W in float, without fused multiply-adds:
//   y[row][j] = W[row] . x[j]   lane l of eight sums W[row][i] x[j][i] over i % 8 = l, i ascending from zero; the
//                               lanes are added as ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7))
//   z[j][i]   = W^T y           the rows, in groups of four, are cut into pieces. A piece sums
//                               (W[0][i] y[0][j] + W[1][i] y[1][j]) + (W[2][i] y[2][j] + W[3][i] y[3][j]) over its
//                               groups, ascending from zero; the pieces are added ascending
#pragma once

#include <algorithm>
#include <cstdint>

namespace tinylora {

/// Vectors x of one product.
inline constexpr int kGramVectors = 4;
/// Rows and columns are padded with zeros to multiples of these.
inline constexpr int kGramRows = 4;
inline constexpr int kGramLanes = 8;

class GramMatrix {
 public:
  /// Of a matrix [out, in].
  GramMatrix(int out, int in)
      : rows(round_up(out, kGramRows)),
        width(round_up(in, kGramLanes)),
        piece_rows(round_up(std::max(kLeastPieceRows, (rows + kMostPieces - 1) / kMostPieces), kGramRows)),
        pieces((rows + piece_rows - 1) / piece_rows) {}
  virtual ~GramMatrix() = default;
  GramMatrix(const GramMatrix&) = delete;
  GramMatrix& operator=(const GramMatrix&) = delete;

  const std::int64_t rows;        // padded
  const std::int64_t width;       // padded
  const std::int64_t piece_rows;  // of every piece but the last
  const std::int64_t pieces;

  /// z = W^T W x, x and z [4, width] on the host; the padding of x must be zeros.
  virtual void multiply(const double* x, double* z) = 0;
  /// y = W x of the last product, [rows, 4] on the host; valid until the next product.
  virtual const double* y() = 0;

 private:
  static constexpr std::int64_t kLeastPieceRows = 32;
  static constexpr std::int64_t kMostPieces = 32;

  static std::int64_t round_up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }
};

}  // namespace tinylora
