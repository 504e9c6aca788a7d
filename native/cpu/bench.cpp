#include "cpu/bench.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "cpu/aligned.h"
#include "cpu/cpu_backend.h"
#include "cpu/limit_kernels.h"

namespace tinylora {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// The best rate of rounds in which every thread does a slice of work, of about a millisecond: together, since one core
/// alone reads more than its share of what the memory gives to all. work(thread) returns a slice's size.
template <class Work>
double rate(ThreadPool& pool, double seconds, const Between& between, const Work& work) {
  std::vector<double> done(static_cast<std::size_t>(pool.threads()));
  double best = 0;
  const Clock::time_point start = Clock::now();
  do {
    between();
    const Clock::time_point round = Clock::now();
    pool.run(pool.threads(), [&](std::int64_t item, int) { done[static_cast<std::size_t>(item)] = work(item); });
    best = std::max(best, std::accumulate(done.begin(), done.end(), 0.0) / seconds_since(round));
  } while (seconds_since(start) < seconds);
  return best;
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
  constexpr int kRounds = 400000;
  limits.gflops_fp32 = rate(pool, seconds, between, [&](std::int64_t) { return kernels.fp32(kRounds); }) * 1e-9;
  limits.gflops_bf16 = rate(pool, seconds, between, [&](std::int64_t) { return kernels.bf16(kRounds); }) * 1e-9;

  constexpr std::size_t kFloats = std::size_t{1} << 26;  // 256 MiB a thread
  struct Part {
    std::shared_ptr<std::byte> floats;
    std::size_t slice = 0;  // that is read next
  };
  std::vector<Part> memory(static_cast<std::size_t>(threads));
  for (auto& [part, slice] : memory) {
    between();
    part = aligned_zeros(kFloats * sizeof(float));
    std::memset(part.get(), 1, kFloats * sizeof(float));  // memory never written is one page of zeros, in a cache
  }
  volatile float keep = 0;
  limits.gbytes = rate(pool, seconds, between,
                       [&](std::int64_t item) {
                         constexpr std::size_t kSlice = kFloats / 8;
                         auto& [part, slice] = memory[static_cast<std::size_t>(item)];
                         const auto* p = reinterpret_cast<const float*>(part.get());
                         if (kernels.read(p + slice++ % 8 * kSlice, kSlice) > 0) keep = 1;
                         return static_cast<double>(kSlice * sizeof(float));
                       }) *
                  1e-9;
  return limits;
}

}  // namespace tinylora
