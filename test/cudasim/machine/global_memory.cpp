#include "machine/global_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "machine/fault.h"

namespace cudasim {

std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

GlobalMemory::GlobalMemory(uint64_t bytes) : total_(bytes) {
  void* range =
      mmap(nullptr, 2 * kCapacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) throw std::runtime_error("cudasim cannot reserve addresses for device memory");
  base_ = reinterpret_cast<uint64_t>(range);
  next_ = base_ + kGap;
}

GlobalMemory::~GlobalMemory() { munmap(reinterpret_cast<void*>(base_), 2 * kCapacity); }

uint64_t GlobalMemory::allocate(uint64_t bytes, const std::string& name) {
  const std::lock_guard guard(lock_);
  if (bytes > total_ - std::min(total_, used_) || bytes > kCapacity || next_ + bytes + kGap > base_ + kCapacity) {
    return 0;
  }
  Allocation made;
  made.begin = next_;
  made.end = made.begin + bytes;
  made.name = name;
  next_ = (made.end + kGap + kAlign - 1) / kAlign * kAlign;
  used_ += bytes;
  live_[made.begin] = made;
  return made.begin;
}

void GlobalMemory::adopt(uint64_t begin, uint64_t bytes) {
  const std::lock_guard guard(lock_);
  freed_.erase(begin);
  Allocation& made = live_[begin];
  made.begin = begin;
  made.end = begin + bytes;
  made.name = "pinned host memory";
  made.hostVisible = true;
}

bool GlobalMemory::release(uint64_t begin) {
  const std::lock_guard guard(lock_);
  const auto found = live_.find(begin);
  if (found == live_.end()) return false;
  const Allocation old = found->second;
  live_.erase(found);
  freed_[begin] = old;
  if (!old.hostVisible) {
    used_ -= old.end - old.begin;
    const uint64_t page = 4096;
    const uint64_t first = (old.begin + page - 1) / page * page;
    const uint64_t last = old.end / page * page;
    if (last > first) {  // give the pages back
      madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
      madvise(defined(first), last - first, MADV_DONTNEED);
    }
  }
  return true;
}

void GlobalMemory::releaseUnnamed() {
  std::vector<uint64_t> begins;
  {
    const std::lock_guard guard(lock_);
    for (const auto& [begin, allocation] : live_) {
      if (allocation.name.empty() && !allocation.hostVisible) begins.push_back(begin);
    }
  }
  for (const uint64_t begin : begins) release(begin);
}

std::optional<Allocation> GlobalMemory::find(uint64_t address, uint64_t bytes) const {
  const std::lock_guard guard(lock_);
  auto after = live_.upper_bound(address);
  if (after == live_.begin()) return std::nullopt;
  const Allocation& candidate = std::prev(after)->second;
  if (address >= candidate.end || bytes > candidate.end - address) return std::nullopt;
  return candidate;
}

std::string GlobalMemory::explain(uint64_t address) const {
  const std::lock_guard guard(lock_);
  const auto near = [&](const std::map<uint64_t, Allocation>& list, const std::string& adjective) -> std::string {
    const auto after = list.upper_bound(address);
    if (after == list.begin()) return "";
    const Allocation& before = std::prev(after)->second;
    const std::string what = adjective + "allocation of " + std::to_string(before.end - before.begin) + " bytes" +
                             (before.name.empty() ? "" : " (" + before.name + ")");
    if (address < before.end) return std::to_string(address - before.begin) + " bytes into a " + what;
    if (address - before.end < (1 << 20))
      return std::to_string(address - before.end) + " bytes past the end of an " + what;
    return "";
  };
  if (const std::string text = near(live_, ""); !text.empty()) return text;
  if (const std::string text = near(freed_, "freed "); !text.empty()) return text;
  return isOwn(address) ? "between allocations" : "outside device memory";
}

void GlobalMemory::markDefined(uint64_t address, uint64_t bytes) {
  if (isOwn(address)) std::memset(defined(address), 1, bytes);
}

std::optional<uint64_t> GlobalMemory::firstUndefined(uint64_t address, uint64_t bytes) const {
  if (!isOwn(address)) return std::nullopt;
  const uint8_t* begin = defined(address);
  const uint8_t* found = std::find(begin, begin + bytes, uint8_t{0});
  if (found == begin + bytes) return std::nullopt;
  return address + static_cast<uint64_t>(found - begin);
}

size_t GlobalMemory::liveAllocations() const {
  const std::lock_guard guard(lock_);
  return static_cast<size_t>(std::count_if(live_.begin(), live_.end(), [](const auto& entry) {
    return entry.second.name.empty() && !entry.second.hostVisible;
  }));
}

}  // namespace cudasim
