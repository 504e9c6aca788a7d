// Both halves of W^T W over a piece of the matrix, once an instruction set. Eight lanes whatever the registers' width:
// every instruction set gives the same bits.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/gram_matrix.h"

namespace tinylora {

/// y[row][j] = w[row] . x[j], and z[j] += sum over the rows of y[row][j] w[row]: four rows make one term, groups of
/// four ascending.
///   w [rows, width] float   x, z [4, width] double   y [rows, 4] double
using GramProduct = void (*)(const float* w, std::int64_t rows, std::int64_t width, const double* x, double* y,
                             double* z);

/// The fastest that this machine runs.
GramProduct gram_product();

void gram_product_avx512(const float*, std::int64_t, std::int64_t, const double*, double*, double*);
void gram_product_plain(const float*, std::int64_t, std::int64_t, const double*, double*, double*);
void gram_product_avx2(const float*, std::int64_t, std::int64_t, const double*, double*, double*);

namespace gram_loops {

typedef double Lanes __attribute__((vector_size(kGramLanes * sizeof(double))));
typedef float Floats __attribute__((vector_size(kGramLanes * sizeof(float))));

template <typename Vector, typename T>
inline __attribute__((always_inline)) void load(Vector& vector, const T* from) {
  std::memcpy(&vector, from, sizeof(vector));
}

inline __attribute__((always_inline)) double sum(const Lanes& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/// Eight columns of four rows.
inline __attribute__((always_inline)) void widen_rows(Lanes (&row)[kGramRows], const float* w, std::int64_t width) {
  for (int r = 0; r < kGramRows; ++r) {
    Floats narrow;
    load(narrow, w + r * width);
    row[r] = __builtin_convertvector(narrow, Lanes);
  }
}

inline __attribute__((always_inline)) void four_rows(const float* w, std::int64_t width, const double* x, double* y,
                                                     double* z) {
  Lanes dot[kGramRows][kGramVectors] = {};
  for (std::int64_t i = 0; i < width; i += kGramLanes) {
    Lanes row[kGramRows];
    widen_rows(row, w + i, width);
    for (int j = 0; j < kGramVectors; ++j) {
      Lanes vector;
      load(vector, x + j * width + i);
      for (int r = 0; r < kGramRows; ++r) dot[r][j] += row[r] * vector;
    }
  }
  for (int r = 0; r < kGramRows; ++r) {
    for (int j = 0; j < kGramVectors; ++j) y[r * kGramVectors + j] = sum(dot[r][j]);
  }
  for (std::int64_t i = 0; i < width; i += kGramLanes) {
    Lanes row[kGramRows];
    widen_rows(row, w + i, width);
    for (int j = 0; j < kGramVectors; ++j) {
      Lanes vector;
      load(vector, z + j * width + i);
      vector += (row[0] * y[j] + row[1] * y[kGramVectors + j]) +
                (row[2] * y[2 * kGramVectors + j] + row[3] * y[3 * kGramVectors + j]);
      std::memcpy(z + j * width + i, &vector, sizeof(vector));
    }
  }
}

inline __attribute__((always_inline)) void gram_product(const float* w, std::int64_t rows, std::int64_t width,
                                                        const double* x, double* y, double* z) {
  for (std::int64_t row = 0; row < rows; row += kGramRows) {
    four_rows(w + row * width, width, x, y + row * kGramVectors, z);
  }
}

}  // namespace gram_loops
}  // namespace tinylora
