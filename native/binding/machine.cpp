#include "binding/machine.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "binding/errors.h"
#include "core/error.h"
#include "cpu/features.h"
#include "cuda/device.h"

namespace tinylora::binding {
namespace {

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

}  // namespace tinylora::binding
