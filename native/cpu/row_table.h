// The kernels that go row by row for one instruction set, gathered in their table.
#pragma once

#include "cpu/elementwise_rows.h"
#include "cpu/norm_rows.h"
#include "cpu/rope_rows.h"

namespace tinylora::TINYLORA_ISA {

template <typename T>
constexpr RowKernels row_table() {
  return {rms_norm<T>, rms_norm_backward,  rope_store<T>, rope_store_backward<T>,
          swiglu<T>,   swiglu_backward<T>, cast<T>};
}

}  // namespace tinylora::TINYLORA_ISA
