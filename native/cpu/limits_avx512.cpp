#include "cpu/limit_loops.h"

namespace tinylora {
// Without bf16 instructions, bf16 is widened and multiplied as float.
constinit const LimitKernels kLimitsAvx512 = {isa_avx512::fp32_limit, isa_avx512::fp32_limit, isa_avx512::read_limit};
}  // namespace tinylora
