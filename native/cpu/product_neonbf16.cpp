#include "cpu/product_loops.h"
#include "cpu/tile_dot.h"

namespace tinylora {
constinit const ProductKernels kProductBf16NeonBf16 = isa_neonbf16::product_table<isa_neonbf16::DotTile>();
}  // namespace tinylora
