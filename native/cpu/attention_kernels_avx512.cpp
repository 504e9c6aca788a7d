#include "cpu/attention_table.h"

namespace tinylora {
constinit const AttentionKernels kAttentionF32Avx512 = isa_avx512::attention_table<float>();
constinit const AttentionKernels kAttentionBf16Avx512 = isa_avx512::attention_table<Bf16>();
}  // namespace tinylora
