#include "binding/measure.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "binding/async.h"
#include "binding/specs.h"
#include "core/error.h"
#include "cpu/bench.h"
#include "cuda/bench.h"
#include "cuda/device.h"
#include "engine/projection.h"

namespace tinylora::binding {
namespace {

constexpr double kMaxSeconds = 3600;

Distribution read_distribution(const Argument& argument) {
  const std::string name = argument.text();
  if (name == "normal") return Distribution::normal;
  if (name == "uniform") return Distribution::uniform;
  if (name == "orthogonal") return Distribution::orthogonal;
  if (name == "unit") return Distribution::unit;
  argument.refuse("\"normal\", \"uniform\", \"orthogonal\" or \"unit\"");
}

double read_seconds(const Argument& argument) {
  const double seconds = argument.number();
  if (!(seconds >= 0 && seconds <= kMaxSeconds)) argument.refuse("a number from 0 to 3600");
  return seconds;
}

CpuPath read_usable_path(const Argument& argument) {
  const CpuPath path = read_path(argument);
  const std::vector<CpuPath>& usable = usable_paths();
  check(std::find(usable.begin(), usable.end(), path) != usable.end(), "ERR_DEVICE", "cpu: path ", name_of(path),
        ": this machine does not have it");
  return path;
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
    path = read_usable_path(spec["path"]);
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

/// A device by the name that specs take, with the reason where it cannot be used.
Napi::Object device_to_js(Napi::Env env, const std::string& name, const std::string& reason) {
  Napi::Object device = Napi::Object::New(env);
  device.Set("name", name);
  device.Set("usable", reason.empty());
  if (!reason.empty()) device.Set("reason", reason);
  return device;
}

/// The GPUs of this machine, or one entry that says why there is none.
void add_gpus(Napi::Env env, Napi::Array& devices) {
  std::vector<cuda::DeviceInfo> list;
  try {
    list = cuda::list_devices();
  } catch (const Error& error) {
    std::string reason = error.what();
    constexpr std::string_view kPrefix = "cuda: ";
    if (reason.starts_with(kPrefix)) reason.erase(0, kPrefix.size());
    devices.Set(devices.Length(), device_to_js(env, "cuda", reason));
  }
  for (const cuda::DeviceInfo& info : list) {
    Napi::Object device = device_to_js(env, "cuda:" + std::to_string(info.ordinal), info.reason);
    Napi::Object gpu = Napi::Object::New(env);
    gpu.Set("name", info.name);
    gpu.Set("capability", std::to_string(info.major) + "." + std::to_string(info.minor));
    gpu.Set("memory", static_cast<double>(info.memory));
    device.Set("gpu", gpu);
    devices.Set(devices.Length(), device);
  }
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

Napi::Value machine(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const std::vector<CpuPath>& usable = usable_paths();
    Napi::Array paths = Napi::Array::New(env);
    for (const CpuPath path : usable) paths.Set(paths.Length(), name_of(path));
    Napi::Array devices = Napi::Array::New(env);
    devices.Set(0U, device_to_js(env, "cpu", usable.empty() ? "this processor has no AVX2 with FMA" : ""));
    add_gpus(env, devices);
    devices.Set(devices.Length(), device_to_js(env, "reference", ""));
    Napi::Object result = Napi::Object::New(env);
    result.Set("cpu", cpu_name());
    result.Set("cores", std::max(1U, std::thread::hardware_concurrency()));
    result.Set("paths", paths);
    result.Set("devices", devices);
    return result;
  });
}

Napi::Value projection(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Argument spec(info, 0, "spec");
    const auto seed = static_cast<std::uint64_t>(spec["seed"].integer(0, kMaxSafeInteger));
    const auto module = static_cast<std::uint32_t>(spec["module"].integer(0, 0xffffffffLL));
    const int u = spec["u"].number_of(1, 1 << 16);
    const int rank = spec["rank"].number_of(1, kMaxRank);
    return to_js(info.Env(), tinylora::projection(seed, module, u, rank, read_distribution(spec["distribution"])));
  });
}

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
