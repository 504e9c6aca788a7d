#include "cpu/attention_amx_table.h"

namespace tinylora {
constinit const AttentionKernels kAttentionBf16Amx = isa_amx::attention_amx_table();
}  // namespace tinylora
