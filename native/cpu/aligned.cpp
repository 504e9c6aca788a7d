#include "cpu/aligned.h"

#include <cstdlib>
#include <cstring>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/error.h"

namespace tinylora {

std::shared_ptr<std::byte> aligned_zeros(std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  constexpr std::size_t kLargePage = std::size_t{2} << 20;
  const std::size_t alignment = bytes >= kLargePage ? kLargePage : kLine;
  const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
  void* memory = size < bytes ? nullptr : std::aligned_alloc(alignment, size == 0 ? alignment : size);
  check(memory != nullptr, "ERR_MEMORY", "memory: expected ", bytes, " bytes, the system has no more");
#if defined(__linux__)
  if (alignment == kLargePage) madvise(memory, size, MADV_HUGEPAGE);  // a wish: without it everything is only slower
#endif
  std::memset(memory, 0, size);
  return {static_cast<std::byte*>(memory), [](std::byte* p) { std::free(p); }};
}

}  // namespace tinylora
