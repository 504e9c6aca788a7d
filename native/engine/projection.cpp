#include "engine/projection.h"

#include <cmath>

#include "core/error.h"
#include "core/philox.h"
#include "engine/adapter.h"
#include "engine/inverse_normal.h"

namespace tinylora {
namespace {

/// The numbers of one module in order, each uniform in (0, 1).
class Uniforms {
 public:
  Uniforms(std::uint64_t seed, std::uint32_t module) : seed_(seed), module_(module) {}

  double operator[](std::size_t index) const {
    const PhiloxBlock block =
        philox(seed_, {static_cast<std::uint32_t>(index / 2), 0x70726f6aU /* "proj" */, module_, 0});
    return index % 2 == 0 ? philox_uniform(block[0], block[1]) : philox_uniform(block[2], block[3]);
  }

 private:
  std::uint64_t seed_;
  std::uint32_t module_;
};

/// Makes the rows of matrix [n, n] orthonormal by Gram-Schmidt, twice for accuracy, without turning a row by more than
/// 90 degrees. A matrix of independent normal numbers becomes a uniformly distributed orthogonal one.
void orthogonalize(double* matrix, std::size_t n) {
  for (std::size_t row = 0; row < n; ++row) {
    double* x = matrix + row * n;
    for (int round = 0; round < 2; ++round) {
      for (std::size_t before = 0; before < row; ++before) {
        const double* y = matrix + before * n;
        double dot = 0;
        for (std::size_t i = 0; i < n; ++i) dot += x[i] * y[i];
        for (std::size_t i = 0; i < n; ++i) x[i] -= dot * y[i];
      }
      double square = 0;
      for (std::size_t i = 0; i < n; ++i) square += x[i] * x[i];
      const double length = std::sqrt(square);
      for (std::size_t i = 0; i < n; ++i) x[i] /= length;
    }
  }
}

}  // namespace

std::vector<float> projection(std::uint64_t seed, std::uint32_t module, int u, int rank, Distribution distribution) {
  check(rank >= 1 && rank <= kMaxRank, "ERR_ARGUMENT", "projection: rank: expected 1 to ", kMaxRank, ", found ", rank);
  check(u >= 1, "ERR_ARGUMENT", "projection: u: expected at least 1, found ", u);
  const auto n = static_cast<std::size_t>(rank);
  const std::size_t square = n * n;
  const std::size_t count = static_cast<std::size_t>(u) * square;
  if (distribution == Distribution::unit) {
    check(static_cast<std::size_t>(u) == square, "ERR_ARGUMENT", "projection: u: expected ", square,
          " unit matrices for rank ", rank, ", found ", u);
    std::vector<float> p(count);
    for (std::size_t i = 0; i < square; ++i) p[i * square + i] = 1;
    return p;
  }

  const Uniforms uniforms(seed, module);
  std::vector<double> values(count);
  const double deviation = 1 / std::sqrt(static_cast<double>(rank));
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = distribution == Distribution::uniform ? (2 * uniforms[i] - 1) * (deviation * std::sqrt(3.0))
                                                      : inverse_normal(uniforms[i]) * deviation;
  }
  if (distribution == Distribution::orthogonal) {
    for (std::size_t i = 0; i < count; i += square) orthogonalize(values.data() + i, n);
  }
  return {values.begin(), values.end()};
}

}  // namespace tinylora
