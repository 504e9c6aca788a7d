#include "cpu/product_loops.h"
#include "cpu/tile_fma.h"

namespace tinylora {
constinit const ProductKernels kProductF32Avx2 = isa_avx2::product_table<isa_avx2::FmaTile<float>>();
constinit const ProductKernels kProductBf16Avx2 = isa_avx2::product_table<isa_avx2::FmaTile<Bf16>>();
}  // namespace tinylora
