// The addresses of a warp without holes.
#pragma once

#include "machine/warp.h"

namespace cudasim {

/** All 32 addresses, lanes that take no part standing where the one before them does: loops need no mask. */
struct Lanes {
  Lanes(uint32_t mask, const uint64_t* address) : at(address) {
    if (mask == kAllLanes) return;
    uint64_t last = address[__builtin_ctz(mask)];
    for (uint32_t lane = 0; lane < kLanes; ++lane) filled[lane] = last = (mask >> lane & 1) ? address[lane] : last;
    at = filled;
  }
  uint64_t together() const {
    uint64_t bits = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) bits |= at[lane];
    return bits;
  }
  const uint64_t* at;
  alignas(64) uint64_t filled[kLanes];
};

}  // namespace cudasim
