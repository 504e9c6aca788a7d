#include "cpu/row_table.h"

namespace tinylora {
constinit const RowKernels kRowsF32Avx2 = isa_avx2::row_table<float>();
constinit const RowKernels kRowsBf16Avx2 = isa_avx2::row_table<Bf16>();
}  // namespace tinylora
