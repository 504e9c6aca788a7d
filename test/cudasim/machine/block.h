// One thread block: warps, shared and local memory, barriers.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "machine/cluster.h"
#include "machine/mbarrier.h"
#include "machine/shared_memory.h"
#include "machine/warp.h"
#include "machine/worker.h"

namespace cudasim {

/** Generic addresses of shared and local memory; no device or host memory lies there. */
constexpr uint64_t kSharedWindow = 0x10000000000000ull, kLocalWindow = 0x20000000000000ull;
constexpr uint64_t kWindowSize = 1ull << 32;

enum class Reduction { None, Count, And, Or };

class Block {
 public:
  /** Block `rank` of the cluster, which lists it already or will. */
  Block(Worker& worker, Cluster& cluster, uint32_t rank);

  void start(Dim3 index);
  /** Lets every warp that can have a turn; false when none could. */
  bool run(uint32_t turn);
  bool done() const { return doneWarps_ == warps_.size(); }

  /** Called by the barrier instructions. */
  void arrive(Warp& warp, const Instr& instr, uint32_t mask, uint32_t id, uint32_t threads, bool waits,
              Reduction reduction);
  void warpEnded(Warp& warp);
  /** barrier.cluster: arrive, and later whether all warps of the cluster have. */
  void arriveCluster(Warp& warp);
  bool waitCluster(Warp& warp);
  void checkCluster() const;
  /** Another block of the cluster, or this one, which must not have ended. */
  Block& inCluster(uint32_t rank);
  /** mbarriers, bulk copies and wgmma are followed in blocks of up to 16 warps. */
  void checkAgents() const;
  /** `data`: 16 bytes, of which the first `bytes` count. */
  void copyAsync(uint32_t thread, uint32_t group, uint32_t address, const uint8_t* data, uint32_t bytes);
  /** Lets the copies of these lanes arrive whose group is below below[lane]. */
  void finishCopies(uint32_t warp, uint32_t lanes, const uint32_t* below);

  uint8_t* local(uint32_t thread) { return local_.data() + size_t{thread} * localBytes_; }
  uint32_t localBytes() const { return localBytes_; }

  Worker& worker;
  Cluster& cluster;
  const uint32_t rank;
  SharedMemory shared;
  Mbarriers mbarriers{shared};
  Dim3 index;
  uint8_t mark = 0;     // globalMark
  bool waited = false;  // one of its lanes has, for the launch before
  uint32_t threads;
  std::string positions() const;
  /** setmaxnreg: false where the warp must wait until others have given up as many. */
  bool setRegisters(const Warp& warp, uint32_t count, bool takes);
  /** The warp whose turn it is; null between turns. */
  const Warp* running() const { return running_; }

 private:
  struct Waiter {
    Warp* warp;
    const Instr* instr;
    uint32_t mask;
  };
  struct Barrier {
    uint32_t arrivedWarps = 0, expectedWarps = 0;  // expected 0: all that have not ended
    uint32_t trueLanes = 0, lanes = 0;
    Reduction reduction = Reduction::None;
    VectorClock clock{};
    GlobalClock global{};
    std::vector<Waiter> waiters;
  };
  struct Copy {
    uint32_t thread, group, address, bytes;
    std::array<uint8_t, 16> data;
  };

  void completeIfFull(Barrier& barrier);
  void completeCluster();
  /** The four warps of a warpgroup must have run the same products. */
  void checkGroups() const;
  void checkWaits() const;

  uint32_t localBytes_;
  std::vector<uint8_t> local_;
  std::vector<uint8_t> registers_;
  std::deque<Warp> warps_;
  std::vector<uint32_t> order_;  // of turns
  std::array<Barrier, 16> barriers_;
  std::vector<std::vector<Copy>> copies_;  // by warp
  std::vector<uint32_t> registersOf_;      // of a thread, by warp, once one of them is changed
  uint32_t spareRegisters_ = 0;            // given up, of whole warps
  size_t doneWarps_ = 0;
  const Warp* running_ = nullptr;
};

}  // namespace cudasim
