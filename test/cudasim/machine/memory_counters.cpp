#include "machine/memory_counters.h"

#include <algorithm>

#include "machine/block.h"
#include "machine/lanes.h"

namespace cudasim {

void countWavefronts(Warp& warp, const Instr& instr, uint32_t mask, const uint64_t* address, uint32_t bytes) {
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  const uint32_t wide = std::max(bytes, 4u), lanesAtOnce = std::min(kLanes, 128 / wide);
  const uint32_t words = wide / 4;
  // Which of the groups of banks that a lane needs are taken, one bit each: all different is one pass.
  const auto shift = static_cast<uint32_t>(__builtin_ctz(wide));
  alignas(64) uint32_t bank[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    bank[lane] =
        (1u << (static_cast<uint32_t>(address[lane] >> shift) & (lanesAtOnce - 1))) & (0u - (mask >> lane & 1));
  }
  for (uint32_t first = 0; first < kLanes; first += lanesAtOnce) {
    const uint32_t part = mask & static_cast<uint32_t>(((1ull << lanesAtOnce) - 1) << first);
    if (part == 0) continue;
    uint32_t taken = 0;
    for (uint32_t lane = first; lane < first + lanesAtOnce; ++lane) taken |= bank[lane];
    site.idealWavefronts += 1;
    if (__builtin_popcount(taken) == __builtin_popcount(part)) {
      site.wavefronts += 1;
      continue;
    }
    uint32_t word[kLanes][kLanes];  // by bank: distinct words
    uint8_t distinct[kLanes] = {};
    uint32_t passes = 1;
    forEachLane(part, [&](uint32_t lane) {
      for (uint32_t w = 0; w < words; ++w) {
        const auto at = static_cast<uint32_t>(address[lane] / 4) + w;
        const uint32_t own = at % kLanes;
        uint32_t known = 0;
        while (known < distinct[own] && word[own][known] != at) ++known;
        if (known < distinct[own]) continue;
        word[own][distinct[own]++] = at;
        passes = std::max<uint32_t>(passes, distinct[own]);
      }
    });
    site.wavefronts += passes;
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
