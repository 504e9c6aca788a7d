#include "cpu/limit_loops.h"

namespace tinylora {
// Without bf16 instructions, bf16 is widened and multiplied as float.
constinit const LimitKernels kLimitsNeon = {isa_neon::fp32_limit, isa_neon::fp32_limit, isa_neon::read_limit};
}  // namespace tinylora
