#include "cpu/attention_table.h"

namespace tinylora {
constinit const AttentionKernels kAttentionF32Neon = isa_neon::attention_table<float>();
constinit const AttentionKernels kAttentionBf16Neon = isa_neon::attention_table<Bf16>();
}  // namespace tinylora
