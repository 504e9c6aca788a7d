#include "failing_memory.h"

#include <cstdlib>
#include <new>
#include <utility>

namespace {

thread_local std::uint64_t allocations_to_failure = 0;

void* allocated(std::size_t bytes, std::size_t alignment) {
  if (allocations_to_failure > 0 && --allocations_to_failure == 0) throw std::bad_alloc();
  void* memory = nullptr;
  // Of the very size that was asked for: AddressSanitizer finds what is written past the end.
  if (posix_memalign(&memory, alignment, bytes == 0 ? 1 : bytes) != 0) throw std::bad_alloc();
  return memory;
}

}  // namespace

// These take the place of the library's in the whole program; its other forms call them. AddressSanitizer's do not: the
// one that gives no memory for an answer ends in the same `operator delete`.
void* operator new(std::size_t bytes) { return allocated(bytes, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocated(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace tinylora::test {

std::uint64_t fail_allocation(std::uint64_t place) { return std::exchange(allocations_to_failure, place); }

}  // namespace tinylora::test
