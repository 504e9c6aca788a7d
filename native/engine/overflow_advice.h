// What a message about a gradient that is NaN or infinite ends with.
#pragma once

#include "core/dtype.h"

namespace tinylora {

/// Of fp16, whose way back is multiplied by gradient_scale; nothing of other dtypes.
constexpr const char* overflow_advice(DType dtype) {
  return dtype == DType::f16
             ? ": dtype fp16 ends at 65504, and the way back is 4096 times the gradient: take dtype bf16 "
               "or fp32, or weigh tokens less (smaller rewards, more completions a step)"
             : "";
}

}  // namespace tinylora
