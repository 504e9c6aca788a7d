// The mbarriers of one block: phases, expected arrivals and bytes, and the bulk copies that will arrive. A copy arrives
// as late as it can: when a warp waits for its phase. So nobody reads early by luck.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "machine/cluster.h"
#include "machine/shared_memory.h"

namespace cudasim {

/** What a bulk copy writes: one range of shared memory. */
struct BulkCopy {
  uint32_t address;
  std::vector<uint8_t> data;
};

/** What arrivals have seen: of the block's own memory, and of the other's in a cluster of two. */
struct ClusterClock {
  VectorClock own{}, peer{};
};

struct Mbarrier {
  uint32_t address, agent;
  uint32_t expected, pending;  // arrivals of a phase
  int64_t bytes = 0;           // expected and not arrived yet
  uint64_t phase = 0;          // phases completed
  uint32_t initialiser;        // warp
  bool published = false;      // to the async proxy
  ClusterClock arrivals{}, completed{};
  std::vector<BulkCopy> copies{};
};

class Mbarriers {
 public:
  explicit Mbarriers(SharedMemory& shared) : shared_(shared) {}

  /** `peer`: memory of the other block of a cluster of two. */
  void reset(SharedMemory* peer) {
    live_.clear();
    made_ = 0;
    peer_ = peer;
  }
  void initialise(uint32_t address, uint32_t expected, uint32_t thread);
  void invalidate(uint32_t address, uint32_t thread);
  /** fence.mbarrier_init or fence.proxy.async of the warp. */
  void publish(uint32_t warp);
  /** The object at this address, checked to be one, and known to the thread, which may be one of another block. */
  Mbarrier& at(uint64_t address, uint32_t thread);

  /** The phase that the arrival belongs to. */
  uint64_t arrive(Mbarrier& barrier, uint32_t count, uint32_t thread, bool drops = false);
  void expect(Mbarrier& barrier, uint32_t bytes);
  void complete(Mbarrier& barrier, uint32_t bytes);
  void addCopy(Mbarrier& barrier, BulkCopy copy, uint32_t thread);
  /** True, and what happened before is known to the warp, when phase `phase` is over. */
  bool wait(Mbarrier& barrier, uint64_t phase, uint32_t warp);

  /** Of a deadlock: the barriers whose phase has begun, one line each. */
  std::string describe() const;
  /** At the end of the block no copy may be under way. */
  void checkOver() const;

 private:
  void deliver(Mbarrier& barrier);
  void completeIfOver(Mbarrier& barrier);

  void release(uint32_t warp, ClusterClock& into);
  void acquire(uint32_t warp, const ClusterClock& from);

  SharedMemory& shared_;
  SharedMemory* peer_ = nullptr;
  std::map<uint32_t, Mbarrier> live_;  // by address
  uint32_t made_ = 0;
};

}  // namespace cudasim
