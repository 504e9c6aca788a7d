#include "ops/bench.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/philox.h"

namespace tinylora {
namespace {

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
  Product(Backend& backend, const ProductBenchSpec& spec, const Between& between) : spec_(spec), backend_(backend) {
    const std::size_t bytes = std::size_t(spec.out) * std::size_t(spec.in) * size_of(spec.dtype);
    const std::size_t copies = std::max<std::size_t>(1, (spec.footprint + bytes - 1) / bytes);
    constexpr int kRows = 61;  // that differ, made once: numbers of all copies would take longer than the products
    const std::vector<float> rows = noises(1, std::size_t{kRows} * std::size_t(spec.in));
    for (std::size_t c = 0; c < copies; ++c) {
      between();
      weights_.push_back(backend_.pack(spec.out, spec.in, [&](int row, float* to) {
        std::copy_n(rows.begin() + std::ptrdiff_t{row % kRows} * spec.in, spec.in, to);
      }));
    }
    const int rank = std::max(1, spec.rank);
    const int from = spec.backward ? spec.out : spec.in;
    const int to = spec.backward ? spec.in : spec.out;
    const auto count = [](int m, int n) { return static_cast<std::size_t>(m) * static_cast<std::size_t>(n); };
    const std::shared_ptr<void> x = uploaded(backend_, noises(2, count(spec.rows, from)));
    x_ = backend_.allocate(count(spec.rows, from) * size_of(spec.dtype));
    backend_.cast({static_cast<std::int64_t>(count(spec.rows, from)), static_cast<const float*>(x.get()), x_.get()});
    y_ = backend_.allocate(count(spec.rows, to) * sizeof(float));
    a_ = uploaded(backend_, noises(3, count(rank, spec.in)));
    b_ = uploaded(backend_, noises(4, count(rank, spec.out)));
    r_ = uploaded(backend_, noises(5, count(rank, rank)));
    a_prepared_ = prepared(a_, rank, spec.in);
    b_prepared_ = prepared(b_, rank, spec.out);
    z_ = uploaded(backend_, noises(6, count(spec.rows, rank)));
    d_r_ = backend_.allocate(count(rank, rank) * sizeof(double));
    adapter_ = backend_.allocate(count(spec.rows, 1) * sizeof(std::int32_t));
  }

  std::size_t copies() const { return weights_.size(); }

  void call(bool fused, std::size_t index) {
    const Weight* weight = weights_[index % weights_.size()].get();
    LoraArgs lora;
    if (fused && spec_.rank > 0) {
      lora.rank = spec_.rank;
      lora.a = floats(a_);
      lora.b = floats(b_);
      lora.r = floats(r_);
      lora.adapter = static_cast<const std::int32_t*>(adapter_.get());
      lora.a_prepared = a_prepared_.get();
      lora.b_prepared = b_prepared_.get();
    }
    if (spec_.backward) {
      LinearBackwardArgs args{};
      args.rows = spec_.rows;
      args.dy = x_.get();
      args.weight = weight;
      args.lora = lora;
      args.z = floats(z_);
      args.d_r = static_cast<double*>(d_r_.get());
      args.dx = floats(y_);
      backend_.linear_backward(args);
    } else {
      LinearArgs args{};
      args.rows = spec_.rows;
      args.x = x_.get();
      args.weight = weight;
      args.lora = lora;
      args.z = floats(z_);
      args.y = y_.get();
      backend_.linear(args);
    }
  }

 private:
  static float* floats(const std::shared_ptr<void>& memory) { return static_cast<float*>(memory.get()); }

  std::shared_ptr<void> prepared(const std::shared_ptr<void>& factor, int rank, int width) {
    const std::size_t bytes = backend_.prepared_bytes(rank, width);
    if (bytes == 0) return nullptr;
    std::shared_ptr<void> memory = backend_.allocate(bytes);
    backend_.prepare_factor(floats(factor), rank, width, memory.get());
    return memory;
  }

  const ProductBenchSpec spec_;
  Backend& backend_;
  std::vector<std::unique_ptr<Weight>> weights_;
  std::shared_ptr<void> x_, y_, a_, b_, r_, z_, d_r_, adapter_, a_prepared_, b_prepared_;
};

}  // namespace

ProductBenchResult bench_product(Backend& backend, const ProductBenchSpec& spec, std::size_t calls,
                                 const Stopwatch& stopwatch, const Between& between) {
  check(spec.out > 0 && spec.in > 0 && spec.rows > 0, "ERR_ARGUMENT",
        "bench: expected out, in and rows of at least 1, found ", spec.out, ", ", spec.in, ", ", spec.rows);
  check(spec.rank >= 0 && spec.rank <= kMaxRank, "ERR_ARGUMENT", "bench: rank: expected 0 to ", kMaxRank, ", found ",
        spec.rank);
  Product product(backend, spec, between);
  const std::size_t walk = (product.copies() + calls - 1) / calls;
  std::vector<double> plain;
  std::vector<double> fused;
  std::size_t index = 0;
  const auto round = [&] {
    // Each side walks over all weights by itself: neither finds in the cache what the other has just read.
    for (std::vector<double>* side : {&plain, &fused}) {
      for (std::size_t c = 0; c < walk; ++c) {
        between();
        const double seconds = stopwatch([&] {
          for (std::size_t i = 0; i < calls; ++i) product.call(side == &fused, index++);
        });
        side->push_back(seconds / static_cast<double>(calls));
      }
    }
  };
  round();
  plain.clear();
  fused.clear();
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  do {
    round();
  } while (std::chrono::duration<double>(Clock::now() - start).count() < spec.seconds);
  const auto timed = static_cast<std::int64_t>(plain.size() * calls);
  return {timing_of(plain), timing_of(fused), timed};
}

}  // namespace tinylora
