// The end of a message about a gradient that is NaN or infinite.
#pragma once

#include "core/dtype.h"

namespace tinylora {

/// For fp16, whose backward pass is multiplied by gradient_scale; empty for other dtypes.
constexpr const char* overflow_advice(DType dtype) {
  return dtype == DType::f16
             ? ": dtype fp16 ends at 65504, and the backward pass computes 4096 times the gradient: take "
               "dtype bf16 or fp32, or weigh tokens less (smaller rewards, more completions a step)"
             : "";
}

}  // namespace tinylora
