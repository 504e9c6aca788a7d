// Memory that an op needs only until its last kernel has run. One stream runs everything in order, so the next op may
// write it again at once.
#pragma once

#include <memory>

#include "cuda/device.h"

namespace tinylora::cuda {

/// Grows, never shrinks. Graphs hold its address: when it moves, they are made anew (graph.h).
class Scratch {
 public:
  void* get(Device& device, std::size_t bytes) {
    if (bytes > bytes_) {
      memory_.reset();
      bytes_ = 0;
      memory_ = device.scratch(bytes);
      device.scratch_moved();
      bytes_ = bytes;
    }
    return memory_.get();
  }
  template <typename T>
  T* get(Device& device, std::size_t count) {
    return static_cast<T*>(get(device, count * sizeof(T)));
  }

 private:
  std::shared_ptr<void> memory_;
  std::size_t bytes_ = 0;
};

}  // namespace tinylora::cuda
