#include "cpu/head_loops.h"

namespace tinylora {
constinit const HeadKernels kHeadNeon = isa_neon::kHeadTable;
}  // namespace tinylora
