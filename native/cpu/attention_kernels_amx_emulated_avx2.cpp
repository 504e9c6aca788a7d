// AMX's attention on plain instructions (amx_emulation.h), for tests on machines without AMX.
#define TINYLORA_EMULATE_AMX
#include "cpu/attention_amx_table.h"

namespace tinylora {
constinit const AttentionKernels kAttentionBf16AmxEmulated = isa_avx2::attention_amx_table();
}  // namespace tinylora
