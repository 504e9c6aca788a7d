#include "cpu/bench.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "cpu/aligned.h"
#include "cpu/cpu_backend.h"
#include "cpu/limit_kernels.h"

namespace tinylora {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Timing timing_of(std::vector<double>& seconds) {
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front()};
}

/// Numbers in -1..1 that are a function of (stream, index).
float noise(std::uint32_t stream, std::uint32_t index) {
  return static_cast<float>(2 * philox_uniform(philox(stream, {index, 0, 0, 0})[0], 0) - 1);
}

std::vector<float> noises(std::uint32_t stream, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = noise(stream, static_cast<std::uint32_t>(i));
  return values;
}

/// One product with everything it reads and writes; `call` runs it once on the next of its weights.
class Product {
 public:
  explicit Product(const ProductBenchSpec& spec)
      : spec_(spec), backend_(make_cpu_backend(spec.dtype, spec.threads, spec.path)) {
    const std::size_t bytes = std::size_t(spec.out) * std::size_t(spec.in) * size_of(spec.dtype);
    const std::size_t copies = std::max<std::size_t>(1, (spec.footprint + bytes - 1) / bytes);
    for (std::size_t c = 0; c < copies; ++c) {
      weights_.push_back(backend_->pack(spec.out, spec.in, [&](int row, float* to) {
        for (int i = 0; i < spec_.in; ++i) to[i] = noise(1, static_cast<std::uint32_t>(row % 61 * spec_.in + i));
      }));
    }
    const int rank = std::max(1, spec.rank);
    const int from = spec.backward ? spec.out : spec.in;
    const int to = spec.backward ? spec.in : spec.out;
    const std::vector<float> x = noises(2, std::size_t(spec.rows) * std::size_t(from));
    x_ = backend_->allocate(x.size() * size_of(spec.dtype));
    backend_->cast({static_cast<std::int64_t>(x.size()), x.data(), x_.get()});
    y_ = backend_->allocate(std::size_t(spec.rows) * std::size_t(to) * sizeof(float));
    a_ = noises(3, std::size_t(rank) * std::size_t(spec.in));
    b_ = noises(4, std::size_t(rank) * std::size_t(spec.out));
    r_ = noises(5, std::size_t(rank) * std::size_t(rank));
    z_ = noises(6, std::size_t(spec.rows) * std::size_t(rank));
    d_r_.resize(r_.size());
    adapter_.resize(static_cast<std::size_t>(spec.rows));
  }

  std::size_t copies() const { return weights_.size(); }

  double call(bool fused, std::size_t index) {
    const Weight* weight = weights_[index % weights_.size()].get();
    LoraArgs lora;
    if (fused && spec_.rank > 0) lora = {spec_.rank, a_.data(), b_.data(), r_.data(), adapter_.data()};
    const Clock::time_point start = Clock::now();
    if (spec_.backward) {
      LinearBackwardArgs args{};
      args.rows = spec_.rows;
      args.dy = x_.get();
      args.weight = weight;
      args.lora = lora;
      args.z = z_.data();
      args.d_r = d_r_.data();
      args.dx = static_cast<float*>(y_.get());
      backend_->linear_backward(args);
    } else {
      LinearArgs args{};
      args.rows = spec_.rows;
      args.x = x_.get();
      args.weight = weight;
      args.lora = lora;
      args.z = z_.data();
      args.y = y_.get();
      backend_->linear(args);
    }
    return seconds_since(start);
  }

 private:
  const ProductBenchSpec spec_;
  std::unique_ptr<CpuBackend> backend_;
  std::vector<std::unique_ptr<Weight>> weights_;
  std::shared_ptr<void> x_, y_;
  std::vector<float> a_, b_, r_, z_;
  std::vector<double> d_r_;
  std::vector<std::int32_t> adapter_;
};

const LimitKernels& limit_kernels(CpuPath path) {
  switch (path) {
    case CpuPath::amx:
      return kLimitsAmx;
    case CpuPath::avx512_bf16:
      return kLimitsAvx512Bf16;
    case CpuPath::avx512:
      return kLimitsAvx512;
    case CpuPath::avx2:
    case CpuPath::amx_emulated:
      break;
  }
  return kLimitsAvx2;
}

/// Sum over the threads, all of them busy for `seconds`, of each one's best rate: a limit is what the machine can do
/// when nobody else has it. work() is a slice of about a millisecond and returns its size.
template <class Work>
double rate(ThreadPool& pool, double seconds, const Work& work) {
  std::vector<double> best(static_cast<std::size_t>(pool.threads()));
  pool.run(pool.threads(), [&](std::int64_t item, int) {
    double& own = best[static_cast<std::size_t>(item)];
    const Clock::time_point start = Clock::now();
    do {
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

ProductBenchResult bench_product(const ProductBenchSpec& spec) {
  check(spec.out > 0 && spec.in > 0 && spec.rows > 0, "ERR_ARGUMENT",
        "bench: expected out, in and rows of at least 1, found ", spec.out, ", ", spec.in, ", ", spec.rows);
  check(spec.rank >= 0 && spec.rank <= 16, "ERR_ARGUMENT", "bench: rank: expected 0 to 16, found ", spec.rank);
  Product product(spec);
  std::vector<double> plain;
  std::vector<double> fused;
  std::size_t index = 0;
  const auto round = [&] {
    // Each side walks over all weights by itself: neither finds in the cache what the other has just read.
    for (std::vector<double>* side : {&plain, &fused}) {
      for (std::size_t c = 0; c < product.copies(); ++c) side->push_back(product.call(side == &fused, index++));
    }
  };
  round();
  plain.clear();
  fused.clear();
  const Clock::time_point start = Clock::now();
  do {
    round();
  } while (seconds_since(start) < spec.seconds);
  const auto calls = static_cast<std::int64_t>(plain.size());
  return {timing_of(plain), timing_of(fused), calls};
}

MachineLimits bench_limits(int threads, CpuPath path, double seconds) {
  const std::vector<CpuPath>& usable = usable_paths();
  check(std::find(usable.begin(), usable.end(), path) != usable.end(), "ERR_DEVICE", "bench: path ", name_of(path),
        ": this machine lacks it");
  const LimitKernels& kernels = limit_kernels(path);
  ThreadPool pool(threads);
  MachineLimits limits;
  limits.gflops_fp32 = rate(pool, seconds, [&](std::int64_t) { return kernels.fp32(100000); }) * 1e-9;
  limits.gflops_bf16 = rate(pool, seconds, [&](std::int64_t) { return kernels.bf16(100000); }) * 1e-9;

  constexpr std::size_t kFloats = std::size_t{1} << 26;  // 256 MiB a thread
  std::vector<std::shared_ptr<std::byte>> memory(static_cast<std::size_t>(threads));
  for (auto& part : memory) part = aligned_zeros(kFloats * sizeof(float));
  volatile float keep = 0;
  limits.gbytes = rate(pool, seconds,
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
