// Block Lanczos with thick restarts on W^T W, in double over W in float. A basis Q grows by one block of vectors for
// each pass over W; every new block is orthogonal to all before it. The eigenvectors of the small matrix T = Q^T W^T W
// Q with the largest eigenvalues give the right vectors V. When Q is full, it shrinks to its best vectors and grows
// again. It ends when each wanted vector is known to an angle of about 1e-7: its residual is below 1e-7 of the distance
// to the next eigenvalue. Then S = |W V| and U = W V / S. A singular value of 0 has a left vector of zeros.
//
// Products with W^T W are computed by the backend (ops/gram_matrix.h), everything else on the host. The order of every
// sum depends only on the shape, and threads share out whole sums: the same bits on every device and for any number of
// threads.
#include "engine/svd.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/philox.h"
#include "engine/symmetric_eigen.h"
#include "engine/vector_sums.h"

namespace tinylora {
namespace {

constexpr double kAngle = 1e-7;      // to which a wanted vector must be known, in radians
constexpr double kFloor = 1e-13;     // residual that rounding leaves, as a share of the largest eigenvalue
constexpr double kVanished = 1e-12;  // a new vector shorter than this share of the largest eigenvalue is only rounding
constexpr int kMaxPasses = 1000;     // over W; the best vectors found by then are the result, and `angle` tells of it
constexpr int kGrowth = 8;           // blocks by which the basis grows before convergence is checked

std::int64_t round_up(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }

/// Orthonormal vectors q(0), q(1), ... [width]: first `size_` whose images under W^T W are known, then `fresh_` new
/// ones.
class LanczosBasis {
 public:
  LanczosBasis(GramMatrix& matrix, int in, int rank, ThreadPool& pool)
      : matrix_(matrix),
        pool_(pool),
        rank_(rank),
        block_(std::min<int>(in, static_cast<int>(round_up(rank, kGramVectors)))),
        kept_(std::min(in, rank + block_)),
        capacity_(std::min(in, kept_ + kGrowth * block_)),
        width_(matrix.width),
        q_(static_cast<std::size_t>(capacity_ + block_ + kGramVectors) * width()),
        t_(static_cast<std::size_t>(capacity_ * capacity_)) {
    for (int vector = 0; vector < block_; ++vector) {
      for (int i = 0; i < in; ++i) q(vector)[i] = start(vector, i);
      append();
    }
  }

  /// Takes in the fresh block, and makes the next one of its images, until the basis is full or W^T W maps it onto
  /// itself.
  void grow(const std::atomic<bool>& abort) {
    while (fresh_ > 0 && size_ + fresh_ <= capacity_) {
      check(!abort, "ERR_ABORTED", "svd: aborted");
      extend();
    }
  }

  /// After `grow`: shrinks the basis to its best vectors; returns whether the wanted eigenvectors are known.
  bool settle() {
    eigen_ = projected_eigen();
    const bool known = fresh_ == 0 || converged();
    angle_ = known ? 0 : widest_angle();
    restart(known ? rank_ : kept_);
    return known;
  }

  /// Eigenvectors after `settle`, largest eigenvalue first, [rank, width].
  const double* vectors() const { return q_.data(); }
  int passes() const { return passes_; }
  /// 0 after a `settle` that returned true; else the largest angle between a wanted eigenvector and what is known of
  /// it.
  double angle() const { return angle_; }

 private:
  std::size_t width() const { return static_cast<std::size_t>(width_); }
  double* q(int vector) { return q_.data() + static_cast<std::size_t>(vector) * width(); }
  double& t(int row, int column) { return t_[static_cast<std::size_t>(row * capacity_ + column)]; }

  /// A fixed start: no direction is likely to be missing from it.
  static double start(int vector, int i) {
    const PhiloxBlock block = philox(0, {static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(vector), 0, 0});
    return philox_uniform(block[0], block[1]) - 0.5;
  }

  /// Subtracts from `vector` its components along q(first) .. q(end - 1), one after another.
  void project(double* vector, int first, int end) {
    if (first >= end) return;
    double along = dot(q(first), vector, width_);
    for (int i = first; i + 1 < end; ++i) along = add_scaled_dot(vector, -along, q(i), q(i + 1), width_);
    add_scaled(vector, -along, q(end - 1), width_);
  }

  double length(const double* vector) const { return std::sqrt(dot(vector, vector, width_)); }

  void divide(double* vector, double by) {
    for (std::size_t i = 0; i < width(); ++i) vector[i] /= by;
  }

  /// Takes the vector behind the last one, which is orthogonal to q(0) .. q(size_ - 1) up to rounding, into the fresh
  /// block: makes it orthogonal to the fresh vectors, then to all once more, of length 1. If it vanishes, it is
  /// dropped.
  void append() {
    double* vector = q(size_ + fresh_);
    project(vector, size_, size_ + fresh_);
    const double left = length(vector);
    if (!(left > kVanished * largest_)) return;
    divide(vector, left);
    project(vector, 0, size_ + fresh_);
    divide(vector, length(vector));
    ++fresh_;
  }

  /// Takes the fresh block into the basis. What its images have outside the basis is the next fresh block.
  void extend() {
    const int block = fresh_;
    std::vector<double> images(static_cast<std::size_t>(round_up(block, kGramVectors)) * width());
    const auto image = [&](int vector) { return images.data() + static_cast<std::size_t>(vector) * width(); };
    for (int first = 0; first < block; first += kGramVectors) {
      // Beyond the block `multiply` reads vectors without meaning; their images are not used.
      matrix_.multiply(q(size_ + first), image(first));
    }
    ++passes_;
    for_pairs(block, size_ + block, [&](int j, int i) {
      if (i <= size_ + j) t(i, size_ + j) = t(size_ + j, i) = dot(q(i), image(j), width_);
    });
    for (int j = 0; j < block; ++j) {
      const double value = t(size_ + j, size_ + j);
      check(std::isfinite(value), "ERR_NUMERIC", "svd: expected finite weights, found NaN or infinity");
      largest_ = std::max(largest_, value);
    }
    size_ += block;
    fresh_ = 0;
    last_block_ = block;
    next_block(block, image);
  }

  /// Makes the fresh block of the images of the last one.
  template <typename Image>
  void next_block(int block, const Image& image) {
    pool_.run(block, [&](std::int64_t j, int) {
      double* vector = q(size_ + static_cast<int>(j));
      std::copy_n(image(static_cast<int>(j)), width(), vector);
      project(vector, 0, size_);
    });
    std::vector<int> fresh_after;
    for (int j = 0; j < block; ++j) {
      if (fresh_ < j) std::copy_n(q(size_ + j), width(), q(size_ + fresh_));
      append();
      fresh_after.push_back(fresh_);
    }
    coupling_.assign(static_cast<std::size_t>(block * block), 0);
    for_pairs(block, fresh_, [&](int j, int i) {
      if (i >= fresh_after[static_cast<std::size_t>(j)]) return;
      coupling_[static_cast<std::size_t>(i * block + j)] = dot(q(size_ + i), image(j), width_);
    });
  }

  /// body(j, i) for j < outer and i < inner, shared out over the threads.
  template <typename Body>
  void for_pairs(int outer, int inner, const Body& body) {
    pool_.run(std::int64_t{outer} * inner,
              [&](std::int64_t pair, int) { body(static_cast<int>(pair / inner), static_cast<int>(pair % inner)); });
  }

  Eigen projected_eigen() {
    std::vector<double> projected(static_cast<std::size_t>(size_ * size_));
    for (int i = 0; i < size_; ++i) {
      for (int j = 0; j < size_; ++j) projected[static_cast<std::size_t>(i * size_ + j)] = t(i, j);
    }
    return symmetric_eigen(std::move(projected), size_);
  }

  /// |W^T W v - value v| of eigenvector `index`: only the images of the last block reach outside the basis.
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

  /// From eigenvalue `i` to the nearest other one.
  double gap(int i) const {
    const std::vector<double>& values = eigen_.values;
    const auto index = static_cast<std::size_t>(i);
    const double below = index + 1 < values.size() ? values[index] - values[index + 1] : values[index];
    return i > 0 ? std::min(below, values[index - 1] - values[index]) : below;
  }

  bool converged() const {
    for (int i = 0; i < rank_; ++i) {
      if (residual(i) > std::max(kAngle * gap(i), kFloor * eigen_.values[0])) return false;
    }
    return true;
  }

  /// An eigenvector is off by its residual over the gap at most; a right angle is all there is.
  double widest_angle() const {
    double widest = 0;
    for (int i = 0; i < rank_; ++i) widest = std::max(widest, std::atan2(residual(i), gap(i)));
    return widest;
  }

  /// The basis becomes its `count` best eigenvectors, with the fresh block behind them.
  void restart(int count) {
    count = std::min(count, size_);
    std::vector<double> next(static_cast<std::size_t>(count) * width());
    pool_.run(count, [&](std::int64_t i, int) {
      for (int j = 0; j < size_; ++j) {
        add_scaled(next.data() + i * width_, eigen_.vectors[static_cast<std::size_t>(i * size_ + j)], q(j), width_);
      }
    });
    std::copy_n(q(size_), static_cast<std::size_t>(fresh_) * width(), q(count));
    std::copy(next.begin(), next.end(), q_.begin());
    size_ = count;
    std::fill(t_.begin(), t_.end(), 0.0);
    for (int i = 0; i < count; ++i) t(i, i) = eigen_.values[static_cast<std::size_t>(i)];
  }

  GramMatrix& matrix_;
  ThreadPool& pool_;
  int rank_, block_, kept_, capacity_;
  std::int64_t width_;
  int size_ = 0;        // vectors whose images are known
  int fresh_ = 0;       // vectors after them whose images are not
  int last_block_ = 0;  // number of vectors that the last pass took into the basis
  int passes_ = 0;
  double angle_ = 0;
  double largest_ = 0;            // a lower bound of the largest eigenvalue
  std::vector<double> q_;         // [capacity + block + kGramVectors, width]: `multiply` reads whole groups
  std::vector<double> t_;         // [capacity, capacity] = Q^T W^T W Q
  std::vector<double> coupling_;  // [fresh, last block]: the images of the last block along the fresh vectors
  Eigen eigen_;
};

double sign_of_largest(const double* values, int count) {
  const auto larger = [](double left, double right) { return std::abs(left) < std::abs(right); };
  return *std::max_element(values, values + count, larger) < 0 ? -1 : 1;
}

/// U, S and V from the right vectors v [rank, width], which are orthonormal.
Svd factors(GramMatrix& matrix, const double* v, int out, int in, int rank) {
  Svd svd;
  svd.u.resize(static_cast<std::size_t>(out * rank));
  const std::int64_t width = matrix.width;
  std::vector<double> x(static_cast<std::size_t>(kGramVectors * width)), z(x.size());
  const double* images = nullptr;
  for (int index = 0; index < rank; ++index) {
    const int lane = index % kGramVectors;
    if (lane == 0) {
      std::copy_n(v + index * width, std::min(kGramVectors, rank - index) * width, x.data());
      matrix.multiply(x.data(), z.data());
      images = matrix.y();
    }
    const double* y = images + lane;
    double square = 0;
    for (int row = 0; row < out; ++row) square += y[row * kGramVectors] * y[row * kGramVectors];
    const double length = std::sqrt(square);
    const double sign = sign_of_largest(v + index * width, in);
    svd.s.push_back(static_cast<float>(length));
    for (int i = 0; i < in; ++i) svd.vt.push_back(static_cast<float>(sign * v[index * width + i]));
    for (int row = 0; row < out && length > 0; ++row) {
      svd.u[static_cast<std::size_t>(row * rank + index)] = static_cast<float>(sign * y[row * kGramVectors] / length);
    }
  }
  return svd;
}

}  // namespace

Svd truncated_svd(Backend& backend, int out, int in, const RowReader& rows, int rank, ThreadPool& pool,
                  const std::atomic<bool>& abort) {
  check(rank >= 1 && rank <= std::min(out, in), "ERR_ARGUMENT", "svd: rank: expected 1 to ", std::min(out, in),
        " for a matrix of ", out, " x ", in, ", found ", rank);
  const std::unique_ptr<GramMatrix> matrix = backend.gram_matrix(out, in, rows, pool);
  LanczosBasis basis(*matrix, in, rank, pool);
  do {
    basis.grow(abort);
  } while (!basis.settle() && basis.passes() < kMaxPasses);
  Svd svd = factors(*matrix, basis.vectors(), out, in, rank);
  svd.angle = basis.angle();
  return svd;
}

}  // namespace tinylora
