// Memory that an op needs only until its last kernel has run. One stream runs everything in order, so the next op may
// write it again at once.
#pragma once

#include <memory>

#include "cuda/device.h"

namespace tinylora::cuda {

/// Grows, never shrinks. Graphs hold its address: when it moves, they are captured again (graph.h).
class Scratch {
 public:
  void* get(Device& device, std::size_t bytes) { return grown(device, bytes, &Device::scratch); }
  template <typename T>
  T* get(Device& device, std::size_t count) {
    return static_cast<T*>(get(device, count * sizeof(T)));
  }
  /// The same for kernels that find zeros and leave them.
  template <typename T>
  T* zeros(Device& device, std::size_t count) {
    return static_cast<T*>(grown(device, count * sizeof(T), &Device::allocate));
  }

 private:
  void* grown(Device& device, std::size_t bytes, std::shared_ptr<void> (Device::*take)(std::size_t)) {
    if (bytes > bytes_) {
      memory_.reset();
      bytes_ = 0;
      try {
        memory_ = (device.*take)(bytes);
      } catch (...) {
        device.scratch_lost();
        throw;
      }
      device.scratch_moved();
      bytes_ = bytes;
    }
    return memory_.get();
  }

  std::shared_ptr<void> memory_;
  std::size_t bytes_ = 0;
};

}  // namespace tinylora::cuda
