#include "driver/device.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <thread>
#include <tuple>
#include <utility>

namespace cudasim {
namespace {

thread_local bool currentContext = false;

/** The calls that CUDASIM_REFUSE can name: those by which a program takes something of the device or gives it work. */
constexpr const char* kRefusable[] = {
    "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent",
    "cuStreamCreate",
    "cuEventCreate",
    "cuDeviceGetDefaultMemPool",
    "cuMemPoolSetAttribute",
    "cuMemAlloc",
    "cuMemAllocAsync",
    "cuMemAllocHost",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuFuncSetAttribute",
    "cuLaunchKernel",
    "cuLaunchKernelEx",
    "cuMemcpyHtoDAsync",
    "cuMemcpyDtoHAsync",
    "cuMemsetAsync",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuStreamWaitEvent",
    "cuStreamSynchronize",
    "cuStreamBeginCapture",
    "cuStreamEndCapture",
    "cuGraphInstantiate",
    "cuGraphLaunch",
};

bool isRefusable(const std::string& call) {
  return std::find(std::begin(kRefusable), std::end(kRefusable), call) != std::end(kRefusable);
}

std::string textOf(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr ? text : "";
}

/** Reads variables, and keeps the first sentence about one that says what it cannot. */
struct Variables {
  std::string wrong;

  void refuse(const char* name, const std::string& expected, const std::string& found) {
    if (wrong.empty()) wrong = std::string(name) + ": expected " + expected + ", found \"" + found + "\"";
  }

  uint64_t number(const char* name, uint64_t otherwise, uint64_t least, uint64_t most) {
    const std::string text = textOf(name);
    if (text.empty()) return otherwise;
    if (const auto value = numberOf(text); value && *value >= least && *value <= most) return *value;
    refuse(name, "a whole number from " + std::to_string(least) + " to " + std::to_string(most), text);
    return otherwise;
  }

  /** "cuMemAllocHost:2" is its second call, without a number the first. */
  std::pair<std::string, uint64_t> call(const char* name) {
    const std::string text = textOf(name);
    if (text.empty()) return {};
    const size_t colon = text.find(':');
    const std::string called = text.substr(0, colon);
    const auto place = colon == std::string::npos ? std::optional<uint64_t>(1) : numberOf(text.substr(colon + 1));
    if (isRefusable(called) && place && *place > 0) return {called, *place};
    std::string known;
    for (const char* one : kRefusable) known += std::string(known.empty() ? "" : ", ") + one;
    refuse(name, "one of " + known + ", or :N after it for the Nth call", text);
    return {};
  }

 private:
  static std::optional<uint64_t> numberOf(const std::string& text) {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [read, error] = std::from_chars(text.data(), end, value);
    return error == std::errc() && read == end ? std::optional(value) : std::nullopt;
  }
};

}  // namespace

Settings Settings::fromEnvironment() {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max(), kMost32 = std::numeric_limits<uint32_t>::max();
  Variables from;
  Settings made;
  made.arch = static_cast<int>(from.number("CUDASIM_ARCH", 80, 10, 999));
  made.version = static_cast<int>(from.number("CUDASIM_VERSION", made.version, 1000, 1000000));
  const uint64_t usual = made.arch >= 90 ? 132 : 108;
  made.multiprocessors = static_cast<int>(from.number("CUDASIM_MULTIPROCESSORS", usual, 1, 1000));
  made.memory = from.number("CUDASIM_MEMORY", made.memory >> 20, 0, 1 << 20) << 20;
  const uint64_t cores = std::max(1u, std::thread::hardware_concurrency());
  made.threads = static_cast<uint32_t>(from.number("CUDASIM_THREADS", cores, 1, 1024));
  made.orderSeed = from.number("CUDASIM_ORDER", 0, 0, kMost);
  made.roundsAsMeasured = from.number("CUDASIM_ROUNDING", 0, 0, 1) != 0;
  made.followsWarps = from.number("CUDASIM_FOLLOW", 0, 0, 1) != 0;
  made.sample = static_cast<uint32_t>(from.number("CUDASIM_SAMPLE", 0, 0, kMost32));
  made.dry = textOf("CUDASIM_DRY");
  made.log = textOf("CUDASIM_LOG");
  made.leakStatus = static_cast<int>(from.number("CUDASIM_LEAK_STATUS", 0, 0, 255));
  made.replacement = textOf("CUDASIM_PTX");
  made.failAt = from.number("CUDASIM_FAIL_AT", 0, 0, kMost);
  std::tie(made.refused, made.refusedPlace) = from.call("CUDASIM_REFUSE");
  made.instructionLimit = from.number("CUDASIM_LIMIT", made.instructionLimit, 1, kMost);
  made.wrong = from.wrong;
  return made;
}

Device& Device::instance() {
  static Device device;
  return device;
}

Device::~Device() {
  const std::string left = leaks();
  if (left.empty()) return;
  report("never given back: " + left);
  if (settings.leakStatus == 0) return;
  std::fflush(nullptr);
  std::_Exit(settings.leakStatus);
}

void Device::report(const std::string& text) {
  lastReport = text;
  std::fprintf(stderr, "cudasim: %s\n", text.c_str());
}

bool Device::refuses(const char* call) {
  const std::lock_guard guard(lock);
  return callsToRefusal > 0 && (refused.empty() || refused == call) && --callsToRefusal == 0;
}

std::string Device::leaks() const {
  std::string text;
  const auto count = [&](size_t number, const char* what) {
    if (number == 0) return;
    text += (text.empty() ? "" : ", ") + std::to_string(number) + " " + what + (number == 1 ? "" : "s");
  };
  count(memory.liveAllocations(), "device allocation");
  count(pinned.size(), "pinned buffer");
  count(modules.size(), "module");
  count(streams.size(), "stream");
  count(events.size(), "event");
  count(graphs.size(), "graph");
  count(static_cast<size_t>(contextReferences), "reference to the context");
  return text;
}

uint64_t Device::parameterSpace() {
  if (parameterSpace_ == 0) parameterSpace_ = memory.allocate(32 << 10, "kernel parameters");
  return parameterSpace_;
}

Stream* Device::stream(CUstream handle) {
  const auto value = reinterpret_cast<uintptr_t>(handle);
  if (value <= 2) return &defaultStream;  // null, legacy, per thread
  const auto found = streams.find(reinterpret_cast<Stream*>(handle));
  return found == streams.end() ? nullptr : found->second.get();
}

CUresult Device::submit(CUstream handle, Work work) {
  Stream* target = stream(handle);
  if (target == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (target->capture != nullptr) {
    target->capture->work.push_back(std::move(work));
    return CUDA_SUCCESS;
  }
  if (target != &defaultStream) {
    target->queued.push_back(std::move(work));
    return settings.log.empty() ? CUDA_SUCCESS : finish(*target);
  }
  if (const CUresult result = finishAll(true); result != CUDA_SUCCESS) return result;
  return work();
}

CUresult Device::finish(Stream& target, uint64_t until) {
  while (target.done < until && sticky == CUDA_SUCCESS) {
    const Work work = std::move(target.queued.front());
    target.queued.pop_front();
    ++target.done;
    const CUresult result = work();
    if (target.failure == CUDA_SUCCESS) target.failure = result;
  }
  return sticky != CUDA_SUCCESS ? sticky : std::exchange(target.failure, CUDA_SUCCESS);
}

CUresult Device::await(Stream& target, uint64_t until) {
  if (settings.orderSeed % 2 != 0) {
    for (const auto& [handle, own] : streams) {
      if (own.get() == &target) continue;
      const CUresult failed = finish(*own);
      if (own->failure == CUDA_SUCCESS) own->failure = failed;  // for those who wait for it
    }
  }
  return finish(target, until);
}

CUresult Device::finishAll(bool blockingAlone) {
  CUresult first = CUDA_SUCCESS;
  for (const auto& [handle, own] : streams) {
    if (blockingAlone && !own->blocking) continue;
    const CUresult result = finish(*own);
    if (first == CUDA_SUCCESS) first = result;
  }
  return first;
}

void Device::dropWork() {
  for (const auto& [handle, own] : streams) {
    own->done = own->given();
    own->queued.clear();
  }
}

/** CUDA C++ Programming Guide, "Technical specifications per compute capability". */
uint32_t Device::sharedPerMultiprocessor() const {
  switch (settings.arch) {
    case 86:
    case 89:
    case 120:
    case 121:
      return 100u << 10;
    default:
      return settings.arch >= 90 ? 228u << 10 : 164u << 10;
  }
}

uint32_t Device::threadsPerMultiprocessor() const {
  switch (settings.arch) {
    case 80:
    case 90:
    case 100:
    case 103:
      return 2048;
    default:
      return 1536;
  }
}

CUresult Device::refusedByCapture(const char* call, const Stream* of) {
  CUresult result = CUDA_SUCCESS;
  for (const auto& [handle, own] : streams) {
    if (own->capture == nullptr) continue;
    const bool mine = own->mode == CaptureMode::itsThread && own->capturer == std::this_thread::get_id();
    if (handle != of && own->mode != CaptureMode::anyThread && !mine) continue;
    own->capture->broken = true;
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    report(std::string(call) + " while a stream captures");
  }
  return result;
}

CUresult ready() {
  const Device& device = Device::instance();
  if (!device.initialised) return CUDA_ERROR_NOT_INITIALIZED;
  if (!currentContext || device.contextReferences == 0) return CUDA_ERROR_INVALID_CONTEXT;
  return device.sticky;
}

void setCurrent(bool current) { currentContext = current; }
bool isCurrent() { return currentContext; }

}  // namespace cudasim
