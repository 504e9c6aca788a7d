// 32 lanes that share a register file. Lanes that stand at the same instruction form a group; one group runs, the
// others wait, and groups that meet merge.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "machine/global_order.h"
#include "machine/program.h"

namespace cudasim {

class Block;
class Worker;

struct Group {
  uint32_t pc;
  uint32_t mask;
  bool blocked;  // at a warp-wide operation that waits for more lanes
};

/** A bulk store that may still read shared memory: until it is waited for, past this clock of the warp's stores. */
struct BulkStore {
  uint32_t lane, group, until;
};

enum class WarpState { Ready, AtBarrier, Done };

class Warp {
 public:
  Warp(Block& block, uint32_t index, uint8_t* registers);

  template <class T>
  T* reg(Slot slot) {
    return reinterpret_cast<T*>(registers_ + slot);
  }
  uint32_t& predicate(Slot slot) { return *reg<uint32_t>(slot); }

  /** Lanes outside `mask` have ended: writing them does no harm, so that all 32 may be computed. */
  bool full(uint32_t lanes) const { return (lanes | ~live) == kAllLanes; }

  Block& block;
  const uint32_t index;
  uint32_t pc = 0;       // of the running group, past the instruction that runs
  uint32_t mask = 0;     // lanes of the running group
  uint32_t live = 0;     // lanes that have not ended
  uint32_t started = 0;  // lanes that exist: fewer than 32 in the last warp of an odd block
  WarpState state = WarpState::Ready;
  bool reschedule = false;  // the running group is no longer the one to run
  bool yielded = false;     // it waits for another warp: its turn is over
  std::vector<Group> waiting;
  std::vector<uint32_t> committed;      // cp.async groups, by lane
  std::vector<uint32_t> bulkCommitted;  // cp.async.bulk groups, by lane
  std::vector<BulkStore> stores;
  uint32_t clusterPhase = 0;  // of barrier.cluster, that the warp waits for
  uint32_t fences = 0;        // wgmma.fence done
  uint64_t products = 0;      // wgmma done
  bool uncommitted = false;   // some since the last commit
  uint32_t waited = 0;        // lanes that the launch before is done for (early_start.h)

  /** Executes until the warp blocks, ends, or has used up its turn. */
  void run(Worker& worker, uint32_t turn);
  void start(uint32_t lanes);

  void jump(uint32_t taken, uint32_t target);
  void exit(uint32_t ended);
  /** The running group stays before this instruction until the lanes it misses arrive. */
  void waitForLanes(const Instr& instr);
  /** Ends the turn: this instruction is tried again at the next. */
  void retryLater(const Instr& instr);
  /** True when the lanes of `members` stand at this instruction; otherwise the group waits for them. */
  bool gathered(const Instr& instr, uint32_t active, uint32_t members);
  uint64_t progress = 0;  // instructions done but for retries
  WarpOrder order;

 private:
  void mergeArrivals();
  void switchGroup();
  void checkDefined(Worker& worker, const Instr& instr, uint32_t mask);
  void checkProducts(const Tracking& tracking, uint32_t active);

  uint8_t* registers_;
  uint32_t sinceSwitch_ = 0;  // instructions of the running group while others wait
  uint32_t holds_ = 0;        // so many more it may run although another stands lower
};

/** Writes f(lane) to the lanes of `mask`. */
template <class T, class F>
inline __attribute__((always_inline)) void assign(Warp& warp, Slot slot, uint32_t mask, F f) {
  T* out = warp.reg<T>(slot);
  if (__builtin_expect(warp.full(mask), 1)) {
#pragma GCC ivdep
    for (uint32_t lane = 0; lane < kLanes; ++lane) out[lane] = f(lane);
  } else {
    alignas(64) T result[kLanes];
#pragma GCC ivdep
    for (uint32_t lane = 0; lane < kLanes; ++lane) result[lane] = f(lane);
    for (uint32_t lane = 0; lane < kLanes; ++lane) out[lane] = (mask >> lane & 1) ? result[lane] : out[lane];
  }
}

/** Writes the bits of `value` that belong to lanes of `mask`. */
inline void assignPredicate(Warp& warp, Slot slot, uint32_t mask, uint32_t value) {
  uint32_t& out = warp.predicate(slot);
  out = (out & ~mask) | (value & mask);
}

/** One bit a lane. */
template <class F>
inline __attribute__((always_inline)) uint32_t collect(F f) {
  alignas(64) uint8_t bits[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) bits[lane] = f(lane) ? 0xFF : 0;
  uint32_t mask = 0;
  for (uint32_t part = 0; part < 4; ++part) {  // the top bit of each of eight bytes, gathered by one product
    uint64_t bytes;
    std::memcpy(&bytes, bits + 8 * part, 8);
    mask |= static_cast<uint32_t>(((bytes & 0x0101010101010101ull) * 0x0102040810204080ull) >> 56) << (8 * part);
  }
  return mask;
}

template <class F>
inline void forEachLane(uint32_t mask, F f) {
  for (; mask != 0; mask &= mask - 1) f(static_cast<uint32_t>(__builtin_ctz(mask)));
}

}  // namespace cudasim
