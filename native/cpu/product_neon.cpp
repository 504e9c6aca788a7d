#include "cpu/product_loops.h"
#include "cpu/tile_fma.h"

namespace tinylora {
constinit const ProductKernels kProductF32Neon = isa_neon::product_table<isa_neon::FmaTile<float>>();
constinit const ProductKernels kProductBf16Neon = isa_neon::product_table<isa_neon::FmaTile<Bf16>>();
}  // namespace tinylora
