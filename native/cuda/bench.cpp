#include "cuda/bench.h"

#include <algorithm>

#include "cuda/cuda_backend.h"
#include "cuda/kernels/limits.h"
#include "cuda/launch.h"

namespace tinylora {
namespace {

constexpr std::size_t kCallsTimed = 16;  // in one go: events count half a microsecond
constexpr std::size_t kReadBytes = std::size_t{1} << 28;

/// Two events of a stream.
class EventTimer {
 public:
  explicit EventTimer(cuda::Device& device) : device_(device), api_(device.api()) {
    device_.bind();
    api_.check(api_.event_new(&start_, 0), "cuEventCreate");
    const cuda::Result second = api_.event_new(&end_, 0);
    if (second != 0) api_.event_free(start_);
    api_.check(second, "cuEventCreate");
  }
  ~EventTimer() {
    api_.event_free(start_);
    api_.event_free(end_);
  }
  EventTimer(const EventTimer&) = delete;
  EventTimer& operator=(const EventTimer&) = delete;

  double seconds_of(const std::function<void()>& work) {
    device_.bind();
    api_.check(api_.event_record(start_, device_.stream()), "cuEventRecord");
    work();
    api_.check(api_.event_record(end_, device_.stream()), "cuEventRecord");
    device_.synchronize();
    float milliseconds = 0;
    api_.check(api_.event_elapsed(&milliseconds, start_, end_), "cuEventElapsedTime");
    return double{milliseconds} * 1e-3;
  }

 private:
  cuda::Device& device_;
  const cuda::Driver& api_;
  cuda::Event start_ = nullptr;
  cuda::Event end_ = nullptr;
};

/// The best rate of a kernel that does `done(rounds)` in `rounds` rounds: as many rounds as take `seconds`.
template <typename Launch>
double rate(EventTimer& timer, double seconds, double of_a_round, const Between& between, const Launch& launch) {
  double best = 0;
  for (int rounds = 1;; rounds *= 2) {
    between();
    const double took = timer.seconds_of([&] { launch(rounds); });
    if (took > 0) best = std::max(best, of_a_round * rounds / took);
    if (took >= seconds || rounds >= 1 << 24) return best;
  }
}

}  // namespace

ProductBenchResult bench_cuda_product(const ProductBenchSpec& spec, int ordinal, const std::string& driver_file,
                                      const Between& between) {
  const auto backend = make_cuda_backend(spec.dtype, ordinal, driver_file);
  EventTimer timer(backend->device());
  const auto stopwatch = [&](const std::function<void()>& work) { return timer.seconds_of(work); };
  return bench_product(*backend, spec, kCallsTimed, stopwatch, between);
}

MachineLimits bench_cuda_limits(double seconds, int ordinal, const std::string& driver_file, const Between& between) {
  const auto device = cuda::Device::open(ordinal, driver_file);
  EventTimer timer(*device);
  const auto blocks = static_cast<unsigned>(device->multiprocessors() * cuda::kLimitBlocks);
  const double warps = double(blocks) * cuda::kLimitThreads / 32;
  const std::shared_ptr<void> memory = device->allocate(kReadBytes);
  const cuda::Shape shape{.grid = {blocks}, .block = cuda::kLimitThreads};
  auto* out = static_cast<float*>(memory.get());
  MachineLimits limits;
  limits.gflops_bf16 =
      1e-9 * rate(timer, seconds, warps * cuda::kLimitMmas * 2 * 16 * 8 * 16, between,
                  [&](int rounds) { cuda::launch(*device, "limits", "limit_mma_bf16", shape, out, rounds); });
  limits.gflops_fp32 = 1e-9 * rate(timer, seconds, warps * 32 * cuda::kLimitFmas * 2, between, [&](int rounds) {
                         cuda::launch(*device, "limits", "limit_fma_f32", shape, out, rounds);
                       });
  limits.gbytes = 1e-9 * rate(timer, seconds, double(kReadBytes), between, [&](int rounds) {
                    cuda::launch(*device, "limits", "limit_read", shape, out, rounds, kReadBytes);
                  });
  return limits;
}

}  // namespace tinylora
