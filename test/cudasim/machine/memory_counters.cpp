#include "machine/memory_counters.h"

#include <algorithm>

#include "machine/block.h"
#include "machine/lanes.h"

namespace cudasim {
namespace {

/** The most elements that one bank is asked for; elements lie in the banks `element & banks`. */
uint32_t passes(const uint32_t* element, uint32_t lanes, uint32_t banks) {
  uint32_t last[kLanes];  // by bank
  forEachLane(lanes, [&](uint32_t lane) { last[element[lane] & banks] = element[lane]; });
  uint32_t others = 0;
  forEachLane(lanes, [&](uint32_t lane) { others |= last[element[lane] & banks] ^ element[lane]; });
  if (others == 0) return 1;
  uint32_t found[kLanes][kLanes];  // by bank
  uint8_t distinct[kLanes] = {};
  uint32_t most = 1;
  forEachLane(lanes, [&](uint32_t lane) {
    const uint32_t bank = element[lane] & banks;
    uint32_t known = 0;
    while (known < distinct[bank] && found[bank][known] != element[lane]) ++known;
    if (known < distinct[bank]) return;
    found[bank][distinct[bank]++] = element[lane];
    most = std::max<uint32_t>(most, distinct[bank]);
  });
  return most;
}

}  // namespace

void countWavefronts(Warp& warp, const Instr& instr, uint32_t mask, const uint64_t* address, uint32_t bytes) {
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  const uint32_t wide = std::max(bytes, 4u), lanesAtOnce = std::min(kLanes, 128 / wide);
  // As many lanes as take all banks once are served at a time. Lanes of the same bank wait for one another unless they
  // want the same element.
  const auto shift = static_cast<uint32_t>(__builtin_ctz(wide));
  alignas(64) uint32_t element[kLanes], bank[kLanes];  // a bank is one bit: all different is one pass
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    element[lane] = static_cast<uint32_t>(address[lane] >> shift);
    bank[lane] = (1u << (element[lane] & (lanesAtOnce - 1))) & (0u - (mask >> lane & 1));
  }
  for (uint32_t first = 0; first < kLanes; first += lanesAtOnce) {
    const uint32_t part = mask & static_cast<uint32_t>(((1ull << lanesAtOnce) - 1) << first);
    if (part == 0) continue;
    site.idealWavefronts += 1;
    uint32_t taken = 0;
    for (uint32_t lane = first; lane < first + lanesAtOnce; ++lane) taken |= bank[lane];
    const bool differ = __builtin_popcount(taken) == __builtin_popcount(part);
    site.wavefronts += differ ? 1 : passes(element, part, lanesAtOnce - 1);
  }
}

void countSectors(Warp& warp, const Instr& instr, uint32_t mask, const uint64_t* address, uint32_t bytes) {
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  const Lanes lanes(mask, address);
  uint64_t descending = 0, newSectors = 0, newAddresses = 0;
  for (uint32_t lane = 1; lane < kLanes; ++lane) {
    const uint64_t at = lanes.at[lane], last = lanes.at[lane - 1];
    descending |= at < last ? 1 : 0;
    newSectors += at / 32 != last / 32 ? 1 : 0;
    newAddresses += at != last ? 1 : 0;
  }
  uint64_t sectors = newSectors + 1, distinct = newAddresses + 1;
  if (descending != 0) {
    uint64_t sorted[kLanes];
    uint32_t count = 0;
    forEachLane(mask, [&](uint32_t lane) { sorted[count++] = address[lane]; });
    std::sort(sorted, sorted + count);
    sectors = distinct = 0;
    for (uint32_t i = 0; i < count; ++i) {
      sectors += i == 0 || sorted[i] / 32 != sorted[i - 1] / 32;
      distinct += i == 0 || sorted[i] != sorted[i - 1];
    }
  }
  site.sectors += sectors;
  site.usefulBytes += distinct * bytes;
}

}  // namespace cudasim
