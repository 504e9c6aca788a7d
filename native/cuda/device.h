// One GPU: its primary context, a stream on which everything runs in order, a second one on which weights arrive
// (sending.h), memory from the stream-ordered pool, pinned staging for copies, and the kernels loaded so far.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuda/driver.h"

namespace tinylora::cuda {

/// What can be said of a device without using it.
struct DeviceInfo {
  int ordinal = 0;
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  std::size_t memory = 0;
  std::string reason;  // why it cannot be used; empty where it can

  bool usable() const { return reason.empty(); }
};

/// All devices that the driver shows. Throws as driver() does, and where the driver shows none.
std::vector<DeviceInfo> list_devices(const std::string& driver_file = {});

inline constexpr int kFirstUsable = -1;

/// Of one buffer of pinned memory.
inline constexpr std::size_t kPinnedBytes = std::size_t{4} << 20;

class Device : public std::enable_shared_from_this<Device> {
 public:
  /// The device `ordinal` of that driver, or the first usable. Throws ERR_DEVICE with the reason why it cannot be used.
  static std::shared_ptr<Device> open(int ordinal = kFirstUsable, const std::string& driver_file = {});
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceInfo& info() const { return info_; }
  int multiprocessors() const { return multiprocessors_; }
  int max_shared_bytes() const { return max_shared_bytes_; }
  Stream stream() const { return stream_; }
  Context context() const { return context_; }
  /// Counts the moves of scratch memory (scratch.h).
  int scratch_version() const { return scratch_version_; }
  void scratch_moved() { ++scratch_version_; }
  /// Counts the moves for which no memory was left: until the next launches take some, there is none.
  int scratch_losses() const { return scratch_losses_; }
  void scratch_lost() {
    ++scratch_losses_;
    scratch_moved();
  }
  const Driver& api() const { return api_; }

  /// Zeros, aligned to 256 bytes. Freed in stream order: launches that use it may still be waiting.
  std::shared_ptr<void> allocate(std::size_t bytes);
  /// As `allocate`, without the zeros: for what the next launches write whole.
  std::shared_ptr<void> scratch(std::size_t bytes);
  /// `host` may change as soon as this returns.
  void upload(void* device, const void* host, std::size_t bytes);
  void download(void* host, const void* device, std::size_t bytes);
  void zero(void* device, std::size_t bytes);
  void synchronize();

  struct Kernel {
    Function function = nullptr;
    bool starts_early = false;  // kernels/early_start.cuh
    unsigned shared_bytes = 0;  // dynamic, that it may have
  };
  /// Kernel `name` of kernels/<file>.cu, loaded on first use and allowed `shared_bytes` of dynamic shared memory.
  const Kernel& kernel(const char* file, const char* name, unsigned shared_bytes);
  /// Remembers that the kernel was launched: an error that shows later names the launches it may come from.
  void launched(const char* kernel);
  /// The launch just queued writes weights, gains or factors: the next one does not begin before its end, however the
  /// kernel is made (kernels/early_start.cuh).
  void hold_next() { holds_next_ = true; }
  bool holds_next() const { return holds_next_; }
  void bind() const;  // makes the context current on this thread
  /// Throws where `result` is an error, and says what ran last.
  void check(Result result, const std::string& what) const { api_.check(result, what + recent()); }

 private:
  friend class Sending;
  struct Pinned {
    void* memory = nullptr;
    Event free = nullptr;
    bool used = false;
  };
  struct Loaded {
    Module module = nullptr;
    bool starts_early = false;
  };

  Device(const Driver& api, const DeviceInfo& info);
  /// Gives back what there is, after a constructor that failed too: other engines may keep the context alive.
  void close() noexcept;
  std::shared_ptr<void> take(std::size_t bytes, bool zeros);
  void release(Address address) noexcept;
  [[noreturn]] void fail_out_of_memory(std::size_t bytes) const;
  void wait();
  Pinned& next_pinned();
  const Loaded& module(const char* file);
  std::string recent() const;

  const Driver& api_;
  DeviceInfo info_;
  DeviceIndex device_ = 0;
  Context context_ = nullptr;
  Stream stream_ = nullptr;
  Stream copy_stream_ = nullptr;
  Event ordered_ = nullptr;  // from one stream to the other
  int multiprocessors_ = 0;
  int max_shared_bytes_ = 0;
  bool pooled_ = false;
  bool allows_early_starts_ = false;
  bool holds_next_ = false;
  int scratch_version_ = 0;
  int scratch_losses_ = 0;
  std::array<Pinned, 2> pinned_;
  std::size_t turn_ = 0;
  std::map<std::string, Loaded, std::less<>> modules_;
  std::map<std::pair<std::string, std::string>, Kernel> kernels_;
  std::vector<const char*> recent_;  // names of the last launches since the last wait
};

}  // namespace tinylora::cuda
