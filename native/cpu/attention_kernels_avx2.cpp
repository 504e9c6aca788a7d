#include "cpu/attention_table.h"

namespace tinylora {
constinit const AttentionKernels kAttentionF32Avx2 = isa_avx2::attention_table<float>();
constinit const AttentionKernels kAttentionBf16Avx2 = isa_avx2::attention_table<Bf16>();
}  // namespace tinylora
