// Reads and writes of a warp, lane by lane: bounds, alignment, what was never written, races, and the counters.
#pragma once

#include "machine/block.h"
#include "machine/warp.h"

namespace cudasim {

enum class Space { Global, Shared, Local, Generic };

/** What a warp reads or writes: `bytes` a lane, lane after lane in `data`. */
struct Access {
  Warp& warp;
  const Instr& instr;
  uint32_t mask;
  uint32_t bytes;  // 1, 2, 4, 8 or 16
  const uint64_t* address;
  uint8_t* data;
  AccessKind kind = AccessKind::Plain;
};

void readMemory(Space space, const Access& access);
void writeMemory(Space space, const Access& access);

/** For a full warp whose lanes lie side by side from `first` on, or all at `first`: judged and counted at once.
 * Where they lie, or null when they must be judged lane by lane. */
uint8_t* readRow(Space space, Warp& warp, const Instr& instr, uint64_t first, uint32_t bytes);
uint8_t* writeRow(Space space, Warp& warp, const Instr& instr, uint64_t first, uint32_t bytes);
uint8_t* readAsOne(Space space, Warp& warp, const Instr& instr, uint64_t address, uint32_t bytes);

/** Judges one access of a lane to global or shared memory, for instructions with an addressing of their own. */
void checkGlobal(Warp& warp, const Instr& instr, uint32_t lane, uint64_t address, uint32_t bytes, bool reads);
void checkShared(Warp& warp, uint32_t lane, uint64_t address, uint32_t bytes);
/** Bounds and alignment of all lanes of the mask. */
void checkSharedLanes(Warp& warp, uint32_t mask, const uint64_t* address, uint32_t bytes);
void checkSharedDefined(Warp& warp, uint32_t lane, uint32_t address, uint32_t bytes);
[[noreturn]] void misaligned(uint32_t lane, uint64_t address, uint32_t bytes);

}  // namespace cudasim
