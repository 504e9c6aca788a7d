#include "cpu/limit_loops.h"

namespace tinylora {
constinit const LimitKernels kLimitsNeonBf16 = {isa_neonbf16::fp32_limit, isa_neonbf16::bf16_dot_limit,
                                                isa_neonbf16::read_limit};
}  // namespace tinylora
