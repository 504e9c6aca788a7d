#include "cpu/attention_table.h"

namespace tinylora {
constinit const AttentionKernels kAttentionBf16NeonBf16 = isa_neonbf16::attention_table<Bf16>();
}  // namespace tinylora
