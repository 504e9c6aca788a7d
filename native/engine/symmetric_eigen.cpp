#include "engine/symmetric_eigen.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

namespace tinylora {
namespace {

constexpr int kMaxSweeps = 40;  // 6 to 10 are enough: convergence is quadratic

/// Rows p and q of a row-major matrix: (p, q) <- (c p - s q, s p + c q).
void rotate_rows(double* row_p, double* row_q, std::size_t n, double c, double s) {
  for (std::size_t i = 0; i < n; ++i) {
    const double x = row_p[i], y = row_q[i];
    row_p[i] = c * x - s * y;
    row_q[i] = s * x + c * y;
  }
}

}  // namespace

Eigen symmetric_eigen(std::vector<double> matrix, int size) {
  const auto n = static_cast<std::size_t>(size);
  std::vector<double> vectors(n * n);
  for (std::size_t i = 0; i < n; ++i) vectors[i * n + i] = 1;
  double* a = matrix.data();
  bool rotated = true;
  for (int sweep = 0; rotated && sweep < kMaxSweeps; ++sweep) {
    rotated = false;
    for (std::size_t p = 0; p < n; ++p) {
      for (std::size_t q = p + 1; q < n; ++q) {
        const double off = a[p * n + q];
        if (std::abs(off) <= 0x1p-53 * std::sqrt(std::abs(a[p * n + p] * a[q * n + q]))) continue;
        rotated = true;
        const double ratio = (a[q * n + q] - a[p * n + p]) / (2 * off);
        const double t = (ratio >= 0 ? 1 : -1) / (std::abs(ratio) + std::sqrt(1 + ratio * ratio));
        const double c = 1 / std::sqrt(1 + t * t);
        const double s = t * c;
        rotate_rows(a + p * n, a + q * n, n, c, s);
        for (std::size_t i = 0; i < n; ++i) {
          const double x = a[i * n + p], y = a[i * n + q];
          a[i * n + p] = c * x - s * y;
          a[i * n + q] = s * x + c * y;
        }
        rotate_rows(vectors.data() + p * n, vectors.data() + q * n, n, c, s);
      }
    }
  }
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return a[i * n + i] > a[j * n + j]; });
  Eigen eigen;
  for (const std::size_t i : order) {
    eigen.values.push_back(a[i * n + i]);
    eigen.vectors.insert(eigen.vectors.end(), &vectors[i * n], &vectors[i * n] + n);
  }
  return eigen;
}

}  // namespace tinylora
