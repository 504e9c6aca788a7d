// The cuda backend measured: ops/bench.h by events of the stream, and what loops reach that touch only registers or
// only memory (kernels/limits.cu).
#pragma once

#include <string>

#include "cuda/device.h"
#include "ops/bench.h"

namespace tinylora {

ProductBenchResult bench_cuda_product(const ProductBenchSpec& spec, int ordinal, const std::string& driver_file,
                                      const Between& between);

/// On the whole device, for `seconds` each at least.
MachineLimits bench_cuda_limits(double seconds, int ordinal, const std::string& driver_file, const Between& between);

}  // namespace tinylora
