#include "cpu/bench.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "core/error.h"
#include "cpu/aligned.h"
#include "cpu/cpu_backend.h"
#include "cpu/limit_kernels.h"

namespace tinylora {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Sum over the threads, all of them busy for `seconds`, of each one's best rate: a limit is what the machine can do
/// when nobody else has it. work() is a slice of about a millisecond and returns its size.
template <class Work>
double rate(ThreadPool& pool, double seconds, const Between& between, const Work& work) {
  std::vector<double> best(static_cast<std::size_t>(pool.threads()));
  pool.run(pool.threads(), [&](std::int64_t item, int) {
    double& own = best[static_cast<std::size_t>(item)];
    const Clock::time_point start = Clock::now();
    do {
      between();
      const Clock::time_point slice = Clock::now();
      const double done = work(item);
      own = std::max(own, done / seconds_since(slice));
    } while (seconds_since(start) < seconds);
  });
  double sum = 0;
  for (const double r : best) sum += r;
  return sum;
}

}  // namespace

ProductBenchResult bench_cpu_product(const ProductBenchSpec& spec, int threads, CpuPath path, const Between& between) {
  const std::unique_ptr<CpuBackend> backend = make_cpu_backend(spec.dtype, threads, path);
  const auto stopwatch = [](const std::function<void()>& work) {
    const Clock::time_point start = Clock::now();
    work();
    return seconds_since(start);
  };
  return bench_product(*backend, spec, 1, stopwatch, between);
}

MachineLimits bench_cpu_limits(int threads, CpuPath path, double seconds, const Between& between) {
  const std::vector<CpuPath>& usable = usable_paths();
  check(std::find(usable.begin(), usable.end(), path) != usable.end(), "ERR_DEVICE", "bench: path ", name_of(path),
        ": this machine lacks it");
  const LimitKernels& kernels = limit_kernels(path);
  ThreadPool pool(threads);
  MachineLimits limits;
  limits.gflops_fp32 = rate(pool, seconds, between, [&](std::int64_t) { return kernels.fp32(100000); }) * 1e-9;
  limits.gflops_bf16 = rate(pool, seconds, between, [&](std::int64_t) { return kernels.bf16(100000); }) * 1e-9;

  constexpr std::size_t kFloats = std::size_t{1} << 26;  // 256 MiB a thread
  std::vector<std::shared_ptr<std::byte>> memory(static_cast<std::size_t>(threads));
  for (auto& part : memory) {
    between();
    part = aligned_zeros(kFloats * sizeof(float));
    std::memset(part.get(), 1, kFloats * sizeof(float));  // memory never written is one page of zeros, in a cache
  }
  volatile float keep = 0;
  limits.gbytes = rate(pool, seconds, between,
                       [&](std::int64_t item) {
                         constexpr std::size_t kSlice = kFloats / 8;
                         thread_local std::size_t next = 0;
                         const auto* p = reinterpret_cast<const float*>(memory[static_cast<std::size_t>(item)].get());
                         if (kernels.read(p + next++ % 8 * kSlice, kSlice) > 0) keep = 1;
                         return static_cast<double>(kSlice * sizeof(float));
                       }) *
                  1e-9;
  return limits;
}

}  // namespace tinylora
