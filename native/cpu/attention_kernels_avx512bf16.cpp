#include "cpu/attention_table.h"

namespace tinylora {
constinit const AttentionKernels kAttentionBf16Avx512Bf16 = isa_avx512bf16::attention_table<Bf16>();
}  // namespace tinylora
