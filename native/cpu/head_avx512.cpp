#include "cpu/head_loops.h"

namespace tinylora {
constinit const HeadKernels kHeadAvx512 = isa_avx512::kHeadTable;
}  // namespace tinylora
