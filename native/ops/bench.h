// Measurements that every backend can make: seconds of one product, plain and with a fused update, to compare with the
// machine's limits (lib/native/addon.ts, BenchProductSpec and MachineLimits).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "core/dtype.h"
#include "ops/backend.h"

namespace tinylora {

struct ProductBenchSpec {
  int out = 0;
  int in = 0;
  int rows = 0;
  DType dtype = DType::bf16;
  bool backward = false;
  int rank = 0;               // of the fused update; with 0 the plain product is measured twice
  double seconds = 0;         // least time spent
  std::size_t footprint = 0;  // bytes of weights to cycle through; 0: one matrix, warm in cache
};

struct Timing {
  double median = 0;  // seconds of one call
  double least = 0;   // seconds of the fastest call
};

struct ProductBenchResult {
  Timing plain;
  Timing fused;
  std::int64_t calls = 0;  // of each
};

struct MachineLimits {
  double gflops_fp32 = 0;  // 10^9 operations a second; a multiply-add counts as two
  double gflops_bf16 = 0;
  double gbytes = 0;  // 10^9 bytes a second, read from memory
};

/// Runs `work` to its end and returns the seconds that it took.
using Stopwatch = std::function<double(const std::function<void()>& work)>;

/// Called outside of what is timed, a short time apart, by any thread; what it throws ends the measurement.
using Between = std::function<void()>;

/// Plain and fused calls take turns, so that both see the same machine; `calls` at a time are timed together.
ProductBenchResult bench_product(Backend& backend, const ProductBenchSpec& spec, std::size_t calls,
                                 const Stopwatch& stopwatch, const Between& between);

}  // namespace tinylora
