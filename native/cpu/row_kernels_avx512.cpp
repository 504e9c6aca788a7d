#include "cpu/row_table.h"

namespace tinylora {
constinit const RowKernels kRowsF32Avx512 = isa_avx512::row_table<float>();
constinit const RowKernels kRowsBf16Avx512 = isa_avx512::row_table<Bf16>();
}  // namespace tinylora
