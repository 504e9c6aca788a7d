// Who wrote what in global memory during one launch. Blocks have no order among themselves: what one writes another may
// read only behind fences on both sides of an atomic operation that both have met ("last block"); and the read-only
// path (ld.global.nc) sees nothing for certain that is written meanwhile.
//
// While a launch runs, GlobalMemory::defined of what it wrote is a mark of the writing cluster, an even number; from
// its end on it is 1, as of all that was written. Two clusters of 127 have one mark. Of kernels without atomic
// operations in global memory that is all, unless Launch::followsWarps is set; of the others each word's writer is
// known, and each warp's clock: how far it knows every other warp to have come, those of its block too, by barriers of
// the block or, as between blocks, by fences.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "machine/shared_memory.h"

namespace cudasim {

class Block;
class Warp;

/** By warp of the grid: the last of its intervals, which end at fences and barriers, whose writes are to be seen. */
using GlobalClock = std::unordered_map<uint64_t, uint32_t>;

/** Of one warp. */
struct WarpOrder {
  uint32_t interval = 1;
  GlobalClock known{};      // by fences and barriers
  GlobalClock published{};  // what its atomic operations hand on: all it had done or known at its last fence
  GlobalClock pending{};    // what they brought, known from the next fence on
};

/** Of one launch, where warps are followed. */
class GlobalOrder {
 public:
  void wrote(uint64_t address, uint32_t bytes, uint64_t warp, uint32_t interval);
  /** Whether a warp that knows `clock` may read: none of these words has a writer past it, but for the warp itself. */
  bool mayRead(uint64_t address, uint32_t bytes, uint64_t warp, const GlobalClock& clock);
  /** An atomic operation. */
  void meet(uint64_t address, WarpOrder& order);

 private:
  struct Shard {
    std::mutex lock;
    std::unordered_map<uint64_t, std::pair<uint64_t, uint32_t>> writers;  // of words of 4 bytes: warp, interval
    std::unordered_map<uint64_t, GlobalClock> met;
  };
  Shard& shard(uint64_t address) { return shards_[address / 64 % shards_.size()]; }
  std::array<Shard, 64> shards_;
};

/** The mark of what the block writes. */
uint8_t globalMark(const Block& block);

/** A warp has written these bytes; `strong`: by an atomic operation or one that is as good. */
void wroteGlobal(Warp& warp, uint64_t address, uint32_t bytes, bool strong);
/** Throws where a lane may not read these bytes of device memory: never written, or written in this launch by someone
 * whom nothing orders before it. */
void checkReadable(Warp& warp, uint32_t lane, uint64_t address, uint32_t bytes, AccessKind kind);

// Where warps are followed.
void fenceGlobal(Warp& warp);
void meetGlobal(Warp& warp, uint64_t address);
/** Comes to a barrier of the block, and leaves it with what all who came had done and knew. */
void arriveGlobal(Warp& warp, GlobalClock& barrier);
void leaveGlobal(Warp& warp, const GlobalClock& barrier);

}  // namespace cudasim
