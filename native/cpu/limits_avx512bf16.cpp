#include "cpu/limit_loops.h"

namespace tinylora {
namespace isa_avx512bf16 {

inline double bf16_limit(std::int64_t rounds) {
  const auto ones = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f803f80));
  return multiply_adds(rounds, 4 * kLanes, [&](Floats s) { return Floats{_mm512_dpbf16_ps(s.v, ones, ones)}; });
}

}  // namespace isa_avx512bf16

constinit const LimitKernels kLimitsAvx512Bf16 = {isa_avx512bf16::fp32_limit, isa_avx512bf16::bf16_limit,
                                                  isa_avx512bf16::read_limit};
}  // namespace tinylora
