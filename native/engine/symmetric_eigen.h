// Eigenvalues and eigenvectors of a small symmetric matrix, by Jacobi's rotations, in double.
#pragma once

#include <vector>

namespace tinylora {

struct Eigen {
  std::vector<double> values;   // [n], descending
  std::vector<double> vectors;  // [n, n]: row i belongs to values[i]
};

/// matrix [n, n], symmetric.
Eigen symmetric_eigen(std::vector<double> matrix, int n);

}  // namespace tinylora
