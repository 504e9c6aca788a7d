#include "cpu/product_loops.h"
#include "cpu/tile_fma.h"

namespace tinylora {
constinit const ProductKernels kProductF32Avx512 = isa_avx512::product_table<isa_avx512::FmaTile<float>>();
constinit const ProductKernels kProductBf16Avx512 = isa_avx512::product_table<isa_avx512::FmaTile<Bf16>>();
}  // namespace tinylora
