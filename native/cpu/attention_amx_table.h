// The kernels of attention in AMX tiles, gathered in their table.
#pragma once

#include "cpu/attention_amx_backward.h"
#include "cpu/attention_amx_forward.h"

namespace tinylora::TINYLORA_ISA {

constexpr AttentionKernels attention_amx_table() {
  return {attention_forward_amx, attention_backward_queries_amx, attention_backward_page_amx, PackedQueries::bytes};
}

}  // namespace tinylora::TINYLORA_ISA
