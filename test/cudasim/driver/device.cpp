#include "driver/device.h"

#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

namespace cudasim {
namespace {

thread_local bool currentContext = false;

uint64_t fromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

}  // namespace

Settings Settings::fromEnvironment() {
  Settings made;
  made.arch = static_cast<int>(cudasim::fromEnvironment("CUDASIM_ARCH", 80));
  made.version = static_cast<int>(cudasim::fromEnvironment("CUDASIM_VERSION", made.version));
  const uint64_t usual = made.arch >= 90 ? 132 : 108;
  made.multiprocessors = static_cast<int>(cudasim::fromEnvironment("CUDASIM_MULTIPROCESSORS", usual));
  made.memory = cudasim::fromEnvironment("CUDASIM_MEMORY", made.memory >> 20) << 20;
  const uint64_t cores = std::max(1u, std::thread::hardware_concurrency());
  made.threads = static_cast<uint32_t>(cudasim::fromEnvironment("CUDASIM_THREADS", cores));
  made.orderSeed = cudasim::fromEnvironment("CUDASIM_ORDER", 0);
  made.sample = static_cast<uint32_t>(cudasim::fromEnvironment("CUDASIM_SAMPLE", 0));
  if (const char* file = std::getenv("CUDASIM_LOG"); file != nullptr) made.log = file;
  made.leakStatus = static_cast<int>(cudasim::fromEnvironment("CUDASIM_LEAK_STATUS", 0));
  if (const char* file = std::getenv("CUDASIM_PTX"); file != nullptr) made.replacement = file;
  made.failAt = cudasim::fromEnvironment("CUDASIM_FAIL_AT", 0);
  made.instructionLimit = cudasim::fromEnvironment("CUDASIM_LIMIT", made.instructionLimit);
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
    return CUDA_SUCCESS;
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
