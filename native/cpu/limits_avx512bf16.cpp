#include "cpu/limit_loops.h"

namespace tinylora {
constinit const LimitKernels kLimitsAvx512Bf16 = {isa_avx512bf16::fp32_limit, isa_avx512bf16::bf16_dot_limit,
                                                  isa_avx512bf16::read_limit};
}  // namespace tinylora
