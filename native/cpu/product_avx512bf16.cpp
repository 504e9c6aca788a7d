#include "cpu/product_loops.h"
#include "cpu/tile_dot.h"

namespace tinylora {
constinit const ProductKernels kProductBf16Avx512Bf16 = isa_avx512bf16::product_table<isa_avx512bf16::DotTile>();
}  // namespace tinylora
