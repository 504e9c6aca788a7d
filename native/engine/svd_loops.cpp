#include "engine/svd_loops.h"

namespace tinylora {
namespace {

void gram_product_plain(const float* w, std::int64_t rows, std::int64_t width, const double* x, double* y, double* z) {
  svd_loops::gram_product(w, rows, width, x, y, z);
}

}  // namespace

GramProduct gram_product() {
  if (__builtin_cpu_supports("avx512f")) return gram_product_avx512;
  if (__builtin_cpu_supports("avx2")) return gram_product_avx2;
  return gram_product_plain;
}

}  // namespace tinylora
