#include "cpu/row_table.h"

namespace tinylora {
constinit const RowKernels kRowsF32Neon = isa_neon::row_table<float>();
constinit const RowKernels kRowsBf16Neon = isa_neon::row_table<Bf16>();
}  // namespace tinylora
