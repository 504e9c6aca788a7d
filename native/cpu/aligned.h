// Memory for vectors and packed weights: aligned to cache lines, on large pages where the system has them.
#pragma once

#include <cstddef>
#include <memory>

namespace tinylora {

/// `bytes` zeros, aligned to 64 bytes, or to 2 MiB from there on: then they take memory where they are first touched.
/// Fails with ERR_MEMORY.
std::shared_ptr<std::byte> aligned_zeros(std::size_t bytes);

/// Scratch that only grows; what it held is lost when it does. Where memory runs out it is empty, and can be asked
/// again.
class Scratch {
 public:
  template <class T>
  T* at_least(std::size_t count) {
    return reinterpret_cast<T*>(bytes(count * sizeof(T)));
  }

 private:
  std::byte* bytes(std::size_t count) {
    if (count > size_) {
      memory_.reset();  // first: both at once may be more than there is
      size_ = 0;
      memory_ = aligned_zeros(count);
      size_ = count;
    }
    return memory_.get();
  }

  std::shared_ptr<std::byte> memory_;
  std::size_t size_ = 0;
};

}  // namespace tinylora
