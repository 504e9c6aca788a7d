// Block Lanczos with thick restarts on W^T W, in double over W in float:
//   a basis Q grows by one block of vectors a pass over W, orthogonal to all before it; T = Q^T W^T W Q is small, and
//   its leading eigenvectors give the right vectors V; when Q is full, it shrinks to its best vectors and grows again.
// It ends when each of the wanted vectors is known to about 1e-7 of an angle: residual below 1e-7 of the distance to
// the next eigenvalue. Then S = |W V| and U = W V / S. A singular value of 0 has a left vector of zeros.
//
// Sums are taken over fixed pieces of W and added in their order: the same bits for any number of threads.
#include "engine/svd.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/philox.h"
#include "engine/svd_loops.h"
#include "engine/symmetric_eigen.h"

namespace tinylora {
namespace {

constexpr double kAngle = 1e-7;      // of a wanted vector
constexpr double kFloor = 1e-13;     // residual, of the largest eigenvalue: as far as double goes
constexpr double kVanished = 1e-12;  // a new direction shorter than this part of the largest eigenvalue is none
constexpr int kMaxPasses = 1000;
constexpr int kGrowth = 8;  // blocks that the basis grows by before it is looked at
constexpr std::int64_t kMaxPieces = 32;

std::int64_t round_up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }

double dot(const double* x, const double* y, std::int64_t width) {
  double lanes[kSvdLanes] = {};
  for (std::int64_t i = 0; i < width; i += kSvdLanes) {
    for (int lane = 0; lane < kSvdLanes; ++lane) lanes[lane] += x[i + lane] * y[i + lane];
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

/// y += factor x
void add_scaled(double* y, double factor, const double* x, std::int64_t width) {
  for (std::int64_t i = 0; i < width; ++i) y[i] += factor * x[i];
}

/// The matrix, widened, and its product with blocks of vectors.
class Matrix {
 public:
  Matrix(int out, int in, const RowReader& read_row, ThreadPool& pool)
      : rows_(round_up(out, kSvdRows)),
        width_(round_up(in, kSvdLanes)),
        piece_rows_(round_up(std::max<std::int64_t>(32, (rows_ + kMaxPieces - 1) / kMaxPieces), kSvdRows)),
        pieces_((rows_ + piece_rows_ - 1) / piece_rows_),
        values_(static_cast<std::size_t>(rows_ * width_)),
        y_(static_cast<std::size_t>(rows_ * kSvdVectors)),
        partial_(static_cast<std::size_t>(pieces_ * kSvdVectors * width_)),
        product_(gram_product()),
        pool_(pool) {
    pool_.run(out, [&](std::int64_t row, int) { read_row(static_cast<int>(row), values_.data() + row * width_); });
  }

  std::int64_t rows() const { return rows_; }
  std::int64_t width() const { return width_; }

  /// z = W^T W x for four vectors, x and z [4, width]. Leaves W x in `y`.
  void gram(const double* x, double* z) {
    std::fill(partial_.begin(), partial_.end(), 0.0);
    const std::int64_t size = kSvdVectors * width_;
    pool_.run(pieces_, [&](std::int64_t piece, int) {
      const std::int64_t first = piece * piece_rows_;
      product_(values_.data() + first * width_, std::min(piece_rows_, rows_ - first), width_, x,
               y_.data() + first * kSvdVectors, partial_.data() + piece * size);
    });
    std::copy_n(partial_.data(), size, z);
    for (std::int64_t piece = 1; piece < pieces_; ++piece) add_scaled(z, 1, partial_.data() + piece * size, size);
  }

  /// [rows, 4]: W x of the last product.
  const double* y() const { return y_.data(); }

 private:
  std::int64_t rows_, width_, piece_rows_, pieces_;
  std::vector<float> values_;    // [rows, width]
  std::vector<double> y_;        // [rows, 4]
  std::vector<double> partial_;  // [pieces, 4, width]
  GramProduct product_;
  ThreadPool& pool_;
};

/// Orthonormal vectors, and what W^T W makes of them.
class Basis {
 public:
  Basis(Matrix& matrix, int in, int rank)
      : matrix_(matrix),
        in_(in),
        rank_(rank),
        block_(std::min<int>(in, static_cast<int>(round_up(rank, kSvdVectors)))),
        kept_(std::min(in, rank + block_)),
        capacity_(std::min(in, kept_ + kGrowth * block_)),
        width_(matrix.width()),
        q_(static_cast<std::size_t>(capacity_ + block_ + kSvdVectors) * width()),
        t_(static_cast<std::size_t>(capacity_ * capacity_)) {
    for (int vector = 0; vector < block_; ++vector) {
      for (int i = 0; i < in; ++i) q(vector)[i] = start(vector, i);
      append();
    }
  }

  /// Grows by the images of the last block until the basis is full or closed under W^T W.
  void grow(const std::atomic<bool>& abort) {
    while (fresh_ > 0 && size_ + fresh_ <= capacity_) {
      check(!abort, "ERR_ABORTED", "svd: aborted");
      extend();
    }
  }

  /// True when the wanted eigenvectors are known; else keeps the best vectors only. (After grow.)
  bool settle() {
    eigen_ = projected_eigen();
    const bool known = fresh_ == 0 || converged();
    restart(known ? rank_ : kept_);
    return known;
  }

  /// Eigenvectors after `settle`, largest eigenvalue first, [rank, width].
  const double* vectors() const { return q_.data(); }
  int passes() const { return passes_; }

 private:
  std::size_t width() const { return static_cast<std::size_t>(width_); }
  double* q(int vector) { return q_.data() + static_cast<std::size_t>(vector) * width(); }
  double& t(int row, int column) { return t_[static_cast<std::size_t>(row * capacity_ + column)]; }

  /// A fixed start: no direction is likely to be missing from it.
  static double start(int vector, int i) {
    const PhiloxBlock block = philox(0, {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(vector), 0, 0});
    return philox_uniform(block[0], block[1]) - 0.5;
  }

  /// Makes the vector after the last one orthogonal to all and of length 1, and counts it as fresh, unless nothing is
  /// left.
  void append() {
    double* vector = q(size_ + fresh_);
    double length = 0;
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < size_ + fresh_; ++i) add_scaled(vector, -dot(q(i), vector, width_), q(i), width_);
      length = std::sqrt(dot(vector, vector, width_));
      if (round == 0 && !(length > kVanished * largest_)) return;
      for (std::size_t i = 0; i < width(); ++i) vector[i] /= length;
    }
    ++fresh_;
  }

  /// Takes the fresh block into the basis; its image, less what lies in the basis, is the next.
  void extend() {
    const int block = fresh_;
    std::vector<double> image(static_cast<std::size_t>(round_up(block, kSvdVectors)) * width());
    for (int first = 0; first < block; first += kSvdVectors) {
      // Past the block come vectors of no meaning, whose images are not used.
      matrix_.gram(q(size_ + first), image.data() + static_cast<std::size_t>(first) * width());
    }
    ++passes_;
    for (int j = 0; j < block; ++j) {
      const double* z = image.data() + static_cast<std::size_t>(j) * width();
      for (int i = 0; i < size_ + block; ++i) t(i, size_ + j) = t(size_ + j, i) = dot(q(i), z, width_);
      const double value = t(size_ + j, size_ + j);
      check(std::isfinite(value), "ERR_NUMERIC", "svd: expected finite weights, found NaN or infinity");
      largest_ = std::max(largest_, value);
    }
    size_ += block;
    fresh_ = 0;
    last_block_ = block;
    coupling_.assign(static_cast<std::size_t>(block * block), 0);
    for (int j = 0; j < block; ++j) {
      const double* z = image.data() + static_cast<std::size_t>(j) * width();
      std::copy_n(z, width(), q(size_ + fresh_));
      append();
      for (int i = 0; i < fresh_; ++i)
        coupling_[static_cast<std::size_t>(i * block + j)] = dot(q(size_ + i), z, width_);
    }
  }

  Eigen projected_eigen() {
    std::vector<double> projected(static_cast<std::size_t>(size_ * size_));
    for (int i = 0; i < size_; ++i) {
      for (int j = 0; j < size_; ++j) projected[static_cast<std::size_t>(i * size_ + j)] = t(i, j);
    }
    return symmetric_eigen(std::move(projected), size_);
  }

  /// |W^T W v - value v|: what the last block's images have outside the basis.
  double residual(int index) const {
    const double* last = &eigen_.vectors[static_cast<std::size_t>((index + 1) * size_ - last_block_)];
    double sum = 0;
    for (int i = 0; i < fresh_; ++i) {
      double part = 0;
      for (int j = 0; j < last_block_; ++j) part += coupling_[static_cast<std::size_t>(i * last_block_ + j)] * last[j];
      sum += part * part;
    }
    return std::sqrt(sum);
  }

  bool converged() const {
    const std::vector<double>& values = eigen_.values;
    for (int i = 0; i < rank_; ++i) {
      const auto index = static_cast<std::size_t>(i);
      double gap = index + 1 < values.size() ? values[index] - values[index + 1] : values[index];
      if (i > 0) gap = std::min(gap, values[index - 1] - values[index]);
      if (residual(i) > std::max(kAngle * gap, kFloor * values[0])) return false;
    }
    return true;
  }

  /// The basis becomes its `count` best eigenvectors, with the fresh block behind them.
  void restart(int count) {
    count = std::min(count, size_);
    std::vector<double> next(static_cast<std::size_t>(count) * width());
    for (int i = 0; i < count; ++i) {
      for (int j = 0; j < size_; ++j) {
        add_scaled(next.data() + static_cast<std::size_t>(i) * width(),
                   eigen_.vectors[static_cast<std::size_t>(i * size_ + j)], q(j), width_);
      }
    }
    std::copy_n(q(size_), static_cast<std::size_t>(fresh_) * width(), q(count));
    std::copy(next.begin(), next.end(), q_.begin());
    size_ = count;
    std::fill(t_.begin(), t_.end(), 0.0);
    for (int i = 0; i < count; ++i) t(i, i) = eigen_.values[static_cast<std::size_t>(i)];
  }

  Matrix& matrix_;
  int in_, rank_, block_, kept_, capacity_;
  std::int64_t width_;
  int size_ = 0;        // vectors whose images are known
  int fresh_ = 0;       // vectors after them whose images are not
  int last_block_ = 0;  // how many the last pass took in
  int passes_ = 0;
  double largest_ = 0;            // the largest eigenvalue is at least this
  std::vector<double> q_;         // [capacity + block, width]
  std::vector<double> t_;         // [capacity, capacity] = Q^T W^T W Q
  std::vector<double> coupling_;  // [fresh, last block]: the images of the last block along the fresh vectors
  Eigen eigen_;
};

double sign_of_largest(const double* values, int count) {
  const auto larger = [](double left, double right) { return std::abs(left) < std::abs(right); };
  return *std::max_element(values, values + count, larger) < 0 ? -1 : 1;
}

/// U, S and V of orthonormal right vectors v [rank, width].
Svd factors(Matrix& matrix, const double* v, int out, int in, int rank) {
  Svd svd{.u = std::vector<float>(static_cast<std::size_t>(out * rank)), .s = {}, .vt = {}};
  const std::int64_t width = matrix.width();
  std::vector<double> x(static_cast<std::size_t>(kSvdVectors * width)), z(x.size());
  for (int index = 0; index < rank; ++index) {
    const int lane = index % kSvdVectors;
    if (lane == 0) {
      std::copy_n(v + index * width, std::min(kSvdVectors, rank - index) * width, x.data());
      matrix.gram(x.data(), z.data());
    }
    const double* y = matrix.y() + lane;
    double square = 0;
    for (int row = 0; row < out; ++row) square += y[row * kSvdVectors] * y[row * kSvdVectors];
    const double length = std::sqrt(square);
    const double sign = sign_of_largest(v + index * width, in);
    svd.s.push_back(static_cast<float>(length));
    for (int i = 0; i < in; ++i) svd.vt.push_back(static_cast<float>(sign * v[index * width + i]));
    for (int row = 0; row < out && length > 0; ++row) {
      svd.u[static_cast<std::size_t>(row * rank + index)] = static_cast<float>(sign * y[row * kSvdVectors] / length);
    }
  }
  return svd;
}

}  // namespace

Svd truncated_svd(int out, int in, const RowReader& rows, int rank, ThreadPool& pool, const std::atomic<bool>& abort) {
  check(rank >= 1 && rank <= std::min(out, in), "ERR_ARGUMENT", "svd: rank: expected 1 to ", std::min(out, in),
        " for a matrix of ", out, " x ", in, ", found ", rank);
  Matrix matrix(out, in, rows, pool);
  Basis basis(matrix, in, rank);
  do {
    basis.grow(abort);
  } while (!basis.settle() && basis.passes() < kMaxPasses);
  return factors(matrix, basis.vectors(), out, in, rank);
}

}  // namespace tinylora
