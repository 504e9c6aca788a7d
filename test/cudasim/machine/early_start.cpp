#include "machine/early_start.h"

#include <algorithm>
#include <string>

#include "machine/block.h"

namespace cudasim {

void WrittenRanges::sort() {
  std::sort(ranges_.begin(), ranges_.end());
  size_t kept = 0;
  for (const auto& range : ranges_) {
    if (kept != 0 && range.first <= ranges_[kept - 1].second) {
      ranges_[kept - 1].second = std::max(ranges_[kept - 1].second, range.second);
    } else {
      ranges_[kept++] = range;
    }
  }
  ranges_.resize(kept);
}

bool WrittenRanges::holdAnyOf(uint64_t address, uint32_t bytes) const {
  const auto ends = [](const auto& range, uint64_t at) { return range.second <= at; };
  const auto next = std::lower_bound(ranges_.begin(), ranges_.end(), address, ends);
  return next != ranges_.end() && next->first < address + bytes;
}

void checkWaited(const Warp& warp, uint32_t mask, const uint64_t* address, uint32_t bytes, bool writes) {
  const Worker& worker = warp.block.worker;
  forEachLane(mask & ~warp.waited, [&](uint32_t lane) {
    if (!writes && !worker.launch.before->holdAnyOf(address[lane], bytes)) return;
    throw Fault{FaultKind::Race,
                std::string(writes ? "a write" : "a read of what the launch before wrote") +
                    " without griddepcontrol.wait, at " + hex(address[lane]) + ", " +
                    worker.memory.explain(address[lane]),
                static_cast<int>(lane)};
  });
}

void checkFixed(const Warp& warp, uint32_t mask, const uint64_t* address, uint32_t bytes) {
  const Worker& worker = warp.block.worker;
  if (worker.launch.before == nullptr) return;
  forEachLane(mask, [&](uint32_t lane) {
    if (!worker.launch.before->holdAnyOf(address[lane], bytes)) return;
    throw Fault{FaultKind::Race,
                "a read of what the launch before wrote, through the read-only path, at " + hex(address[lane]) + ", " +
                    worker.memory.explain(address[lane]),
                static_cast<int>(lane)};
  });
}

void waitForLaunchBefore(Warp& warp, uint32_t mask) {
  warp.waited |= mask;
  warp.block.waited = true;
}

void letNextLaunchCome(const Warp& warp, uint32_t mask) {
  if ((mask & ~warp.waited) == 0) return;
  throw Fault{
      FaultKind::Synchronisation,
      "griddepcontrol.launch_dependents before griddepcontrol.wait: two launches before the next may not be done",
      __builtin_ctz(mask & ~warp.waited)};
}

}  // namespace cudasim
