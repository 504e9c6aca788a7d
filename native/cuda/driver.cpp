#include "cuda/driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>

#include "core/error.h"
#include "cuda/images.h"

namespace tinylora::cuda {
namespace {

/// Kept open for the life of the process: the driver has threads of its own.
void* open_library(const std::string& file) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();
    tinylora::fail("ERR_DEVICE", "cuda: no NVIDIA driver: cannot open ", file, " (", reason ? reason : "no reason",
                   "); install that of an NVIDIA GPU");
  }
  tinylora::check(dlsym(library, "cuInit") != nullptr, "ERR_DEVICE", "cuda: ", file,
                  " is no NVIDIA driver: it has no cuInit");
  return library;
}

/// 1000 x major + 10 x minor, as the driver has it.
int oldest_version() { return std::max(kOldestDriver, oldest_driver()); }

template <typename Entry>
void find(void* library, const char* name, Entry& entry) {
  void* symbol = dlsym(library, name);
  tinylora::check(symbol != nullptr, "ERR_DEVICE", "cuda: the NVIDIA driver is too old: it has no ", name,
                  "; expected one for CUDA ", oldest_version() / 1000, ".0 or newer");
  entry = reinterpret_cast<Entry>(symbol);
}

std::string standard_file() {
  const char* named = std::getenv("TINYLORA_CUDA_DRIVER");
  return named != nullptr && *named != '\0' ? named : "libcuda.so.1";
}

Driver load(const std::string& file) {
  void* library = open_library(file);
  Driver api{};
  find(library, "cuInit", api.init);
  find(library, "cuDriverGetVersion", api.driver_version);
  find(library, "cuDeviceGetCount", api.device_count);
  find(library, "cuDeviceGet", api.device_get);
  find(library, "cuDeviceGetName", api.device_name);
  find(library, "cuDeviceGetAttribute", api.device_attribute);
  find(library, "cuDeviceTotalMem_v2", api.device_memory);
  find(library, "cuDeviceGetDefaultMemPool", api.device_pool);
  find(library, "cuMemPoolSetAttribute", api.pool_attribute);
  find(library, "cuDevicePrimaryCtxRetain", api.context_retain);
  find(library, "cuDevicePrimaryCtxRelease_v2", api.context_release);
  find(library, "cuCtxSetCurrent", api.context_set);
  find(library, "cuModuleLoadData", api.module_load);
  find(library, "cuModuleUnload", api.module_unload);
  find(library, "cuModuleGetFunction", api.module_function);
  find(library, "cuFuncSetAttribute", api.function_set);
  find(library, "cuLaunchKernelEx", api.launch);
  find(library, "cuMemGetInfo_v2", api.memory_info);
  find(library, "cuMemAlloc_v2", api.memory_new);
  find(library, "cuMemFree_v2", api.memory_free);
  find(library, "cuMemAllocAsync", api.memory_new_async);
  find(library, "cuMemFreeAsync", api.memory_free_async);
  find(library, "cuMemAllocHost_v2", api.host_new);
  find(library, "cuMemFreeHost", api.host_free);
  find(library, "cuMemcpyHtoDAsync_v2", api.copy_in);
  find(library, "cuMemcpyDtoHAsync_v2", api.copy_out);
  find(library, "cuMemsetD8Async", api.fill);
  find(library, "cuStreamCreate", api.stream_new);
  find(library, "cuStreamDestroy_v2", api.stream_free);
  find(library, "cuStreamSynchronize", api.stream_wait);
  find(library, "cuStreamWaitEvent", api.stream_wait_event);
  find(library, "cuStreamBeginCapture_v2", api.capture_begin);
  find(library, "cuStreamEndCapture", api.capture_end);
  find(library, "cuGraphInstantiateWithFlags", api.graph_instantiate);
  find(library, "cuGraphLaunch", api.graph_launch);
  find(library, "cuGraphDestroy", api.graph_free);
  find(library, "cuGraphExecDestroy", api.executable_free);
  find(library, "cuEventCreate", api.event_new);
  find(library, "cuEventDestroy_v2", api.event_free);
  find(library, "cuEventRecord", api.event_record);
  find(library, "cuEventSynchronize", api.event_wait);
  find(library, "cuTensorMapEncodeTiled", api.tensor_map);
  find(library, "cuEventElapsedTime", api.event_elapsed);
  find(library, "cuGetErrorName", api.error_name);
  find(library, "cuGetErrorString", api.error_text);

  int version = 0;
  const Result started = api.init(0);
  if (started == kNoDevice) tinylora::fail("ERR_DEVICE", "cuda: the NVIDIA driver finds no device");
  api.check(started, "the NVIDIA driver does not start");
  api.check(api.driver_version(&version), "cuDriverGetVersion");
  tinylora::check(version >= oldest_version(), "ERR_DEVICE",
                  "cuda: the NVIDIA driver is too old: expected one for CUDA ", oldest_version() / 1000,
                  ".0 or newer, found ", version / 1000, ".", version % 1000 / 10);
  return api;
}

}  // namespace

std::string Driver::describe(Result result) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (error_name(result, &name) != 0 || name == nullptr) name = "unknown error";
  if (error_text(result, &text) != 0 || text == nullptr) text = "no description";
  return std::string(name) + " (" + std::to_string(result) + "): " + text;
}

void Driver::check(Result result, const std::string& what) const {
  if (result == 0) return;
  if (result == kOutOfMemory) tinylora::fail("ERR_MEMORY", "cuda: ", what, ": no memory is left");
  tinylora::fail("ERR_DEVICE", "cuda: ", what, ": ", describe(result),
                 loses_context(result)
                     ? "; what was on the device is lost, and this process cannot use it again: start another "
                       "(train --resume goes on with a run)"
                     : "");
}

bool loses_context(Result result) {
  constexpr Result kUncorrectable = 214, kContained = 226, kTimeout = 702, kAssert = 710;
  const bool memory_or_code = result == 700 || (result >= 714 && result <= 719);  // CUDA_ERROR_ILLEGAL_ADDRESS, ...
  return memory_or_code || result == kUncorrectable || result == kContained || result == kTimeout || result == kAssert;
}

const Driver& driver(const std::string& file) {
  static std::mutex lock;
  static std::map<std::string, Driver> drivers;
  const std::lock_guard guard(lock);
  const std::string named = file.empty() ? standard_file() : file;
  const auto found = drivers.find(named);
  return found != drivers.end() ? found->second : drivers.emplace(named, load(named)).first->second;
}

}  // namespace tinylora::cuda
