// Several buffers cut from one block of memory. The same code that hands them out measures them first, so the table of
// buffers is written once.
#pragma once

#include <cstddef>

namespace tinylora {

class Arena {
 public:
  /// Without memory, `take` only counts.
  explicit Arena(void* memory = nullptr) : memory_(static_cast<std::byte*>(memory)) {}

  /// The next buffer, from a multiple of 64 bytes; nullptr while counting.
  template <typename T>
  void take(T*& buffer, std::size_t bytes) {
    buffer = memory_ == nullptr ? nullptr : static_cast<T*>(static_cast<void*>(memory_ + used_));
    used_ += (bytes + 63) / 64 * 64;
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

}  // namespace tinylora
