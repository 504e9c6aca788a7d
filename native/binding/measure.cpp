#include "binding/measure.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <string>

#include "binding/async.h"
#include "binding/specs.h"
#include "core/error.h"
#include "cpu/bench.h"
#include "cuda/bench.h"

namespace tinylora::binding {
namespace {

constexpr double kMaxSeconds = 3600;

double read_seconds(const Argument& argument) {
  const double seconds = argument.number();
  if (!(seconds >= 0 && seconds <= kMaxSeconds)) argument.refuse("a number from 0 to 3600");
  return seconds;
}

ProductBenchSpec read_product_spec(const Argument& spec) {
  constexpr int most = 1 << 24;
  const std::string direction = spec["direction"].text();
  if (direction != "forward" && direction != "backward") spec["direction"].refuse("\"forward\" or \"backward\"");
  return {.out = spec["out"].number_of(1, most),
          .in = spec["in"].number_of(1, most),
          .rows = spec["rows"].number_of(1, most),
          .dtype = read_dtype(spec["dtype"]),
          .backward = direction == "backward",
          .rank = spec["rank"].number_of(0, kMaxRank),
          .seconds = read_seconds(spec["seconds"]),
          .footprint = static_cast<std::size_t>(spec["footprint"].integer(0, kMaxSafeInteger))};
}

/// Where a measurement runs: "cpu" takes `path` and `threads` besides.
struct BenchDevice {
  explicit BenchDevice(const Argument& spec) : device(read_device(spec)) {
    if (device.kind == DeviceKind::reference) spec["device"].refuse("\"cpu\", \"cuda\", \"cuda:N\" or \"cudasim\"");
    if (device.kind == DeviceKind::cuda) return;
    path = read_path(spec["path"]);
    threads = spec["threads"].number_of(1, kMaxThreads);
  }

  DeviceChoice device;
  CpuPath path = CpuPath::avx2;
  int threads = 1;
};

Napi::Object to_js(Napi::Env env, const Timing& timing) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("median", timing.median);
  object.Set("least", timing.least);
  return object;
}

/// Asks argument 1 some times a second whether the measurement is to go on. More often would disturb it.
class Asking {
 public:
  Asking(Worker& worker, Key key, const std::atomic<bool>& abort) : worker_(worker), key_(key), abort_(abort) {}

  void operator()() {
    check(!abort_, "ERR_ABORTED", "bench: aborted");
    const std::int64_t now = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start_).count();
    std::int64_t due = due_;
    if (now >= due && due_.compare_exchange_strong(due, now + kApart)) worker_.ask(key_);
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::int64_t kApart = 50;  // milliseconds

  Worker& worker_;
  const Key key_;
  const std::atomic<bool>& abort_;
  const Clock::time_point start_ = Clock::now();
  std::atomic<std::int64_t> due_ = kApart;
};

/// A promise of what `measure` returns, on a thread of its own.
Napi::Value on_a_thread(const Napi::CallbackInfo& info, const std::function<MakeValue(const Between&)>& measure) {
  const Napi::Function go_on = Argument(info, 1, "goOn").function();
  const std::shared_ptr<Worker> worker = Worker::start(info.Env());
  Worker* thread = worker.get();
  return worker->run(info.Env(), {}, go_on, [&](Key key) {
    return [thread, key, measure](const std::atomic<bool>& abort) {
      Asking asking(*thread, key, abort);
      return measure(std::ref(asking));
    };
  });
}

}  // namespace

Napi::Value bench_product(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const Argument argument(info, 0, "spec");
    const BenchDevice on(argument);
    const ProductBenchSpec spec = read_product_spec(argument);
    return on_a_thread(info, [on, spec](const Between& between) -> MakeValue {
      const auto& [kind, ordinal, driver] = on.device;
      return [result = kind == DeviceKind::cuda
                           ? bench_cuda_product(spec, ordinal, driver, between)
                           : bench_cpu_product(spec, on.threads, on.path, between)](Napi::Env env) -> Napi::Value {
        Napi::Object object = Napi::Object::New(env);
        object.Set("plain", to_js(env, result.plain));
        object.Set("fused", to_js(env, result.fused));
        object.Set("calls", static_cast<double>(result.calls));
        return object;
      };
    });
  });
}

Napi::Value bench_limits(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] {
    const Argument spec(info, 0, "spec");
    const BenchDevice on(spec);
    const double seconds = read_seconds(spec["seconds"]);
    return on_a_thread(info, [=](const Between& between) -> MakeValue {
      const auto& [kind, ordinal, driver] = on.device;
      return [limits = kind == DeviceKind::cuda
                           ? bench_cuda_limits(seconds, ordinal, driver, between)
                           : bench_cpu_limits(on.threads, on.path, seconds, between)](Napi::Env env) -> Napi::Value {
        Napi::Object gflops = Napi::Object::New(env);
        gflops.Set("fp32", limits.gflops_fp32);
        gflops.Set("bf16", limits.gflops_bf16);
        Napi::Object object = Napi::Object::New(env);
        object.Set("gflops", gflops);
        object.Set("gbytes", limits.gbytes);
        return object;
      };
    });
  });
}

}  // namespace tinylora::binding
