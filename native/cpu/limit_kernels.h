// The loops behind bench_limits, one table an instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/features.h"

namespace tinylora {

struct LimitKernels {
  /// Runs `rounds` rounds of independent multiply-adds on registers; returns the number of floating-point operations.
  double (*fp32)(std::int64_t rounds);
  double (*bf16)(std::int64_t rounds);
  /// Reads `count` floats (a multiple of 256); the result keeps the loads from being left out.
  float (*read)(const float* p, std::size_t count);
};

extern const LimitKernels kLimitsAvx2, kLimitsAvx512, kLimitsAvx512Bf16, kLimitsAmx;
extern const LimitKernels kLimitsNeon, kLimitsNeonBf16;

const LimitKernels& limit_kernels(CpuPath path);

}  // namespace tinylora
