#include "cpu/aligned.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace tinylora {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kLargePage = std::size_t{2} << 20;

std::shared_ptr<std::byte> heap_zeros(std::size_t bytes);
std::shared_ptr<std::byte> mapped_zeros(std::size_t bytes);
std::size_t rounded_up(std::size_t bytes, std::size_t alignment);

[[noreturn]] void refuse(std::size_t bytes) {
  fail("ERR_MEMORY", "memory: expected ", bytes, " bytes, the system has no more");
}

}  // namespace

std::shared_ptr<std::byte> aligned_zeros(std::size_t bytes) {
  return bytes < kLargePage ? heap_zeros(bytes) : mapped_zeros(bytes);
}

namespace {

std::shared_ptr<std::byte> heap_zeros(std::size_t bytes) {
  const std::size_t size = rounded_up(bytes == 0 ? 1 : bytes, kLine);
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kLine, size));
  if (memory == nullptr) refuse(bytes);
  std::memset(memory, 0, size);
  return {memory, [](std::byte* p) { std::free(p); }};
}

/// The system's zeros, which take memory where they are first touched: a cache of keys and values that stays half empty
/// costs half of it. One large page more is mapped, and what lies around the aligned part is given back.
std::shared_ptr<std::byte> mapped_zeros(std::size_t bytes) {
  const std::size_t size = rounded_up(bytes, kLargePage);
  if (size < bytes || size + kLargePage < size) refuse(bytes);
  void* mapped = mmap(nullptr, size + kLargePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) refuse(bytes);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(mapped) % kLargePage;
  std::byte* memory = static_cast<std::byte*>(mapped) + before;
  if (before > 0) munmap(mapped, before);
  munmap(memory + size, kLargePage - before);
#if defined(__linux__)
  madvise(memory, size, MADV_HUGEPAGE);  // a wish: without it everything is only slower
#endif
  return {memory, [size](std::byte* p) { munmap(p, size); }};
}

std::size_t rounded_up(std::size_t bytes, std::size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

}  // namespace
}  // namespace tinylora
