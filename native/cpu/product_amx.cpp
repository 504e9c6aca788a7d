#include "cpu/product_loops.h"
#include "cpu/tile_amx.h"

namespace tinylora {
constinit const ProductKernels kProductBf16Amx = isa_amx::product_table<isa_amx::AmxTile>();
}  // namespace tinylora
