#include "cpu/gram_loops.h"

void tinylora::gram_product_plain(const float* w, std::int64_t rows, std::int64_t width, const double* x, double* y,
                                  double* z) {
  gram_loops::gram_product(w, rows, width, x, y, z);
}
