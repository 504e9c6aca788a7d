#include "cpu/limit_loops.h"

namespace tinylora {
// Without bf16 instructions, bf16 is widened and multiplied as float.
constinit const LimitKernels kLimitsAvx2 = {isa_avx2::fp32_limit, isa_avx2::fp32_limit, isa_avx2::read_limit};
}  // namespace tinylora
