#include "cpu/head_loops.h"

namespace tinylora {
constinit const HeadKernels kHeadAvx2 = isa_avx2::kHeadTable;
}  // namespace tinylora
