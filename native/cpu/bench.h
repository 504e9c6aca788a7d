// The cpu backend measured: ops/bench.h by the clock, and what loops reach that touch only registers or only memory.
#pragma once

#include "cpu/features.h"
#include "ops/bench.h"

namespace tinylora {

ProductBenchResult bench_cpu_product(const ProductBenchSpec& spec, int threads, CpuPath path, const Between& between);

/// Loops that touch only registers, and one that only reads memory, on `threads` threads for `seconds` each.
MachineLimits bench_cpu_limits(int threads, CpuPath path, double seconds, const Between& between);

}  // namespace tinylora
