// The AMX kernels on plain instructions (amx_emulation.h), for tests on machines without AMX.
#define TINYLORA_EMULATE_AMX
#include "cpu/product_loops.h"
#include "cpu/tile_amx.h"

namespace tinylora {
constinit const ProductKernels kProductBf16AmxEmulated = isa_avx2::product_table<isa_avx2::AmxTile>();
}  // namespace tinylora
