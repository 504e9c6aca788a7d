// What accesses cost: passes over the banks of shared memory, 32-byte sectors of global memory.
#pragma once

#include "machine/warp.h"

namespace cudasim {

/** Counts the passes that 32 banks need for these accesses. */
void countWavefronts(Warp& warp, const Instr& instr, uint32_t mask, const uint64_t* address, uint32_t bytes);
void countSectors(Warp& warp, const Instr& instr, uint32_t mask, const uint64_t* address, uint32_t bytes);

}  // namespace cudasim
