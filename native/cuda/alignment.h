// Whether arrays can be read and written in wide moves.
#pragma once

#include <cstdint>

namespace tinylora::cuda {

inline bool aligned(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

/// For moves of 16 bytes.
template <typename... Pointers>
bool all_aligned(const Pointers*... pointers) {
  return (aligned(pointers, 16) && ...);
}

}  // namespace tinylora::cuda
