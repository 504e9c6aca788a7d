// Many bytes to the device while the host prepares more: parts are written to pinned memory, two buffers in turn, and
// travel on the copy stream. What was queued on the compute stream before comes first (the memory's zeros), and what is
// queued there after the end sees all parts.
#pragma once

#include <cstddef>

#include "cuda/device.h"

namespace tinylora::cuda {

class Sending {
 public:
  explicit Sending(Device& device);
  ~Sending();
  Sending(const Sending&) = delete;
  Sending& operator=(const Sending&) = delete;

  /// kPinnedBytes to write the next part to; waits until the part before the last has left.
  void* part();
  /// The first `bytes` of it go to `device_memory`.
  void send(void* device_memory, std::size_t bytes);

 private:
  Device& device_;
  Device::Pinned* pinned_ = nullptr;
};

}  // namespace tinylora::cuda
