#include "cuda/device.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "cuda/images.h"

namespace tinylora::cuda {
namespace {

constexpr std::size_t kRecentLaunches = 8;
constexpr int kLeastMajor = 8;
constexpr char kNoKernels[] = "this build has no CUDA kernels: build it where nvcc is on PATH";

Address address_of(const void* pointer) { return reinterpret_cast<Address>(pointer); }

int attribute(const Driver& api, int which, DeviceIndex device) {
  int value = 0;
  api.check(api.device_attribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

DeviceInfo describe(const Driver& api, int ordinal) {
  DeviceIndex device = 0;
  api.check(api.device_get(&device, ordinal), "cuDeviceGet");
  char name[256] = {};
  api.check(api.device_name(name, sizeof name - 1, device), "cuDeviceGetName");
  DeviceInfo info;
  info.ordinal = ordinal;
  info.name = name;
  api.check(api.device_memory(&info.memory, device), "cuDeviceTotalMem");
  info.major = attribute(api, kComputeMajor, device);
  info.minor = attribute(api, kComputeMinor, device);
  const std::string found = std::to_string(info.major) + "." + std::to_string(info.minor);
  if (info.major < kLeastMajor) info.reason = "compute capability " + found + ": expected 8.0 (Ampere) or newer";
  if (images().empty()) info.reason = kNoKernels;
  return info;
}

/// The device of that number, or the first that can be used.
DeviceInfo choose(int ordinal, const std::string& driver_file) {
  tinylora::check(!images().empty(), "ERR_DEVICE", "cuda: ", kNoKernels);
  const std::vector<DeviceInfo> list = list_devices(driver_file);
  const int count = static_cast<int>(list.size());
  tinylora::check(ordinal < count, "ERR_DEVICE", "cuda: no device ", ordinal, ": expected a number below ", count);
  const auto chosen = ordinal >= 0 ? list.begin() + ordinal
                                   : std::find_if(list.begin(), list.end(), [](auto& info) { return info.usable(); });
  const DeviceInfo& info = chosen == list.end() ? list.front() : *chosen;
  tinylora::check(info.usable(), "ERR_DEVICE", "cuda: ", info.name, " cannot be used: ", info.reason);
  return info;
}

}  // namespace

std::vector<DeviceInfo> list_devices(const std::string& driver_file) {
  const Driver& api = driver(driver_file);
  int count = 0;
  api.check(api.device_count(&count), "cuDeviceGetCount");
  tinylora::check(count > 0, "ERR_DEVICE", "cuda: the NVIDIA driver finds no device");
  std::vector<DeviceInfo> list;
  for (int ordinal = 0; ordinal < count; ++ordinal) list.push_back(describe(api, ordinal));
  return list;
}

std::shared_ptr<Device> Device::open(int ordinal, const std::string& driver_file) {
  try {
    return std::shared_ptr<Device>(new Device(driver(driver_file), choose(ordinal, driver_file)));
  } catch (const Error& error) {
    const bool room = error.code() == "ERR_MEMORY";
    if (!room && error.code() != "ERR_DEVICE") throw;
    tinylora::fail("ERR_DEVICE", error.what(), room ? " to open the device with: end what else uses it" : "",
                   "; or use device cpu");
  }
}

Device::Device(const Driver& api, const DeviceInfo& info) : api_(api), info_(info) {
  api_.check(api_.device_get(&device_, info.ordinal), "cuDeviceGet");
  multiprocessors_ = attribute(api_, kMultiprocessors, device_);
  max_shared_bytes_ = attribute(api_, kSharedBytesOptIn, device_);
  pooled_ = attribute(api_, kMemoryPools, device_) != 0;
  int version = 0;
  api_.check(api_.driver_version(&version), "cuDriverGetVersion");
  allows_early_starts_ = version >= kEarlyInGraphs;
  api_.check(api_.context_retain(&context_, device_), "cuDevicePrimaryCtxRetain");
  try {
    bind();
    for (Stream* stream : {&stream_, &copy_stream_}) {
      api_.check(api_.stream_new(stream, 1 /* CU_STREAM_NON_BLOCKING */), "cuStreamCreate");
    }
    api_.check(api_.event_new(&ordered_, 2 /* CU_EVENT_DISABLE_TIMING */), "cuEventCreate");
    if (pooled_) {
      // What is freed stays with the pool: an engine takes and gives back the same sizes all the time.
      MemoryPool pool = nullptr;
      std::uint64_t keep = std::numeric_limits<std::uint64_t>::max();
      api_.check(api_.device_pool(&pool, device_), "cuDeviceGetDefaultMemPool");
      api_.check(api_.pool_attribute(pool, 4 /* CU_MEMPOOL_ATTR_RELEASE_THRESHOLD */, &keep), "cuMemPoolSetAttribute");
    }
    for (Pinned& pinned : pinned_) {
      api_.check(api_.host_new(&pinned.memory, kPinnedBytes), "cuMemAllocHost");
      api_.check(api_.event_new(&pinned.free, 2 /* CU_EVENT_DISABLE_TIMING */), "cuEventCreate");
    }
  } catch (...) {
    close();
    throw;
  }
}

Device::~Device() { close(); }

void Device::close() noexcept {
  api_.context_set(context_);
  for (const Stream stream : {copy_stream_, stream_}) {
    if (stream != nullptr) api_.stream_wait(stream);
  }
  for (const Pinned& pinned : pinned_) {
    if (pinned.free != nullptr) api_.event_free(pinned.free);
    if (pinned.memory != nullptr) api_.host_free(pinned.memory);
  }
  for (const auto& [file, loaded] : modules_) api_.module_unload(loaded.module);
  if (ordered_ != nullptr) api_.event_free(ordered_);
  for (const Stream stream : {copy_stream_, stream_}) {
    if (stream != nullptr) api_.stream_free(stream);
  }
  api_.context_release(device_);
}

void Device::bind() const { api_.check(api_.context_set(context_), "cuCtxSetCurrent"); }

std::shared_ptr<void> Device::allocate(std::size_t bytes) { return take(bytes, true); }

std::shared_ptr<void> Device::scratch(std::size_t bytes) { return take(bytes, false); }

std::shared_ptr<void> Device::take(std::size_t bytes, bool zeros) {
  bind();
  if (bytes > info_.memory) fail_out_of_memory(bytes);  // what drivers say of absurd sizes differs
  const std::size_t size = std::max<std::size_t>(bytes, 1);
  Address address = 0;
  const Result result = pooled_ ? api_.memory_new_async(&address, size, stream_) : api_.memory_new(&address, size);
  if (result == kOutOfMemory) fail_out_of_memory(bytes);
  check(result, "allocating " + std::to_string(bytes) + " bytes");
  std::shared_ptr<void> memory(reinterpret_cast<void*>(address),
                               [self = shared_from_this()](void* pointer) { self->release(address_of(pointer)); });
  if (zeros) zero(memory.get(), size);
  return memory;
}

void Device::release(Address address) noexcept {
  api_.context_set(context_);  // where it fails, memory of the pool is freed all the same: its stream has the context
  if (pooled_) {
    api_.memory_free_async(address, stream_);
  } else {
    api_.memory_free(address);  // waits for the device
  }
}

void Device::fail_out_of_memory(std::size_t bytes) const {
  std::size_t free = 0, total = 0;
  api_.memory_info(&free, &total);
  const std::size_t asked = (bytes >> 20) + (bytes % (1 << 20) != 0);
  tinylora::fail("ERR_MEMORY", "cuda: ", info_.name, " has no room for ", asked, " MiB more (", free >> 20, " of ",
                 total >> 20, " MiB free)");
}

void Device::upload(void* device, const void* host, std::size_t bytes) {
  bind();
  for (std::size_t done = 0; done < bytes; done += kPinnedBytes) {
    const std::size_t size = std::min(kPinnedBytes, bytes - done);
    Pinned& pinned = next_pinned();
    std::memcpy(pinned.memory, static_cast<const char*>(host) + done, size);
    check(api_.copy_in(address_of(device) + done, pinned.memory, size, stream_), "upload");
    api_.check(api_.event_record(pinned.free, stream_), "upload");
    pinned.used = true;
  }
}

void Device::download(void* host, const void* device, std::size_t bytes) {
  bind();
  for (std::size_t done = 0; done < bytes; done += kPinnedBytes) {
    const std::size_t size = std::min(kPinnedBytes, bytes - done);
    Pinned& pinned = next_pinned();
    check(api_.copy_out(pinned.memory, address_of(device) + done, size, stream_), "download");
    wait();
    std::memcpy(static_cast<char*>(host) + done, pinned.memory, size);
  }
}

void Device::zero(void* device, std::size_t bytes) {
  if (bytes == 0) return;
  bind();
  check(api_.fill(address_of(device), 0, bytes, stream_), "zero");
}

void Device::synchronize() {
  bind();
  wait();
}

void Device::wait() {
  check(api_.stream_wait(stream_), "waiting for the device");
  recent_.clear();
}

/// The staging buffers in turn, each once its last copy is done.
Device::Pinned& Device::next_pinned() {
  Pinned& pinned = pinned_[turn_++ % pinned_.size()];
  if (pinned.used) check(api_.event_wait(pinned.free), "waiting for a copy");
  pinned.used = false;
  return pinned;
}

const Device::Kernel& Device::kernel(const char* file, const char* name, unsigned shared_bytes) {
  Kernel& kernel = kernels_[{file, name}];
  if (kernel.function == nullptr) {
    const Loaded& loaded = module(file);
    check(api_.module_function(&kernel.function, loaded.module, name), std::string("kernel ") + name);
    kernel.starts_early = loaded.starts_early;
  }
  if (shared_bytes > kernel.shared_bytes) {
    tinylora::check(shared_bytes <= static_cast<unsigned>(max_shared_bytes_), "ERR_DEVICE", "cuda: kernel ", name,
                    ": needs ", shared_bytes, " bytes of shared memory, ", info_.name, " has ", max_shared_bytes_);
    check(api_.function_set(kernel.function, kMaxDynamicSharedBytes, static_cast<int>(shared_bytes)),
          std::string("shared memory of kernel ") + name);
    kernel.shared_bytes = shared_bytes;
  }
  return kernel;
}

/// Machine code for this very device where the build has it, else any that the driver takes, PTX last, the newest
/// first.
const Device::Loaded& Device::module(const char* file) {
  if (const auto found = modules_.find(std::string_view(file)); found != modules_.end()) return found->second;
  const std::string exact = "sm_" + std::to_string(10 * info_.major + info_.minor);
  std::vector<const Image*> order;
  for (const Image& image : images()) {
    if (std::strcmp(image.file, file) == 0) order.push_back(&image);
  }
  const auto rank = [&](const Image* image) {
    const std::string architecture = image->architecture;
    if (architecture == exact || architecture == exact + "a") return 0;
    if (!architecture.starts_with("compute_")) return 1;
    return architecture == "compute_80" ? 3 : 2;
  };
  std::stable_sort(order.begin(), order.end(), [&](auto* a, auto* b) { return rank(a) < rank(b); });
  Result result = kNoBinary;
  for (const Image* image : order) {
    Module module = nullptr;
    result = api_.module_load(&module, image->data);
    if (result == 0) return modules_[file] = {module, image->starts_early && allows_early_starts_};
    if (result == kOutOfMemory || loses_context(result)) check(result, std::string("loading kernels of ") + file);
  }
  tinylora::fail("ERR_DEVICE", "cuda: no kernels of \"", file, "\" for ", info_.name, " (", exact,
                 ") in this build: ", api_.describe(result));
}

void Device::launched(const char* kernel) {
  holds_next_ = false;
  if (recent_.size() == kRecentLaunches) recent_.erase(recent_.begin());
  recent_.push_back(kernel);
}

std::string Device::recent() const {
  if (recent_.empty()) return "";
  std::string text = " after the kernels ";
  const char* separator = "";
  for (const char* kernel : recent_) {
    text += std::string(separator) + kernel;
    separator = ", ";
  }
  return text;
}

}  // namespace tinylora::cuda
