// The kernels of attention for one instruction set, gathered in their table.
#pragma once

#include "cpu/attention_backward.h"
#include "cpu/attention_forward.h"

namespace tinylora::TINYLORA_ISA {

template <typename T>
constexpr AttentionKernels attention_table() {
  return {attention_forward<T>, attention_backward_queries<T>, attention_backward_page<T>,
          [](int) { return std::size_t{0}; }};
}

}  // namespace tinylora::TINYLORA_ISA
