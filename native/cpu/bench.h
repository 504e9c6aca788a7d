// Measurements: one product, plain against fused, and the machine's limits to set them against (lib/native/addon.ts,
// BenchProductSpec and MachineLimits).
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "cpu/features.h"

namespace tinylora {

struct ProductBenchSpec {
  int out = 0;
  int in = 0;
  int rows = 0;
  DType dtype = DType::bf16;
  CpuPath path = CpuPath::avx2;
  int threads = 1;
  bool backward = false;
  int rank = 0;               // of the fused update; 0 times the plain product twice
  double seconds = 0;         // least time spent
  std::size_t footprint = 0;  // bytes of weights to cycle through; 0: one matrix, warm in cache
};

struct Timing {
  double median = 0;  // seconds of one call
  double least = 0;
};

struct ProductBenchResult {
  Timing plain;
  Timing fused;
  std::int64_t calls = 0;  // of each
};

/// Plain and fused calls take turns, so that both see the same machine.
ProductBenchResult bench_product(const ProductBenchSpec& spec);

struct MachineLimits {
  double gflops_fp32 = 0;  // multiply and add count as two
  double gflops_bf16 = 0;
  double gbytes = 0;
};

/// Loops that touch only registers, and one that only reads memory, on `threads` threads for `seconds` each.
MachineLimits bench_limits(int threads, CpuPath path, double seconds);

}  // namespace tinylora
