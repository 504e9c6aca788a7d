// One thread of the host that runs blocks of a launch, with counters of its own.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "machine/early_start.h"
#include "machine/global_memory.h"
#include "machine/global_order.h"
#include "machine/program.h"

namespace cudasim {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

/** What all blocks of a launch share. */
struct Launch {
  const Program& program;
  GlobalMemory& memory;
  Dim3 grid, block, cluster;
  uint32_t dynamicShared = 0;
  uint64_t parameters = 0;                // address
  uint64_t instructionLimit = 0;          // of one block
  uint64_t orderSeed = 0;                 // 0: blocks and warps in order
  bool followsWarps = false;              // who wrote global memory, in kernels without atomic operations too
  uint32_t sample = 0;                    // blocks along each axis that stand for all; 0: all of them run
  bool dry = false;                       // leaves global memory as it is
  const WrittenRanges* before = nullptr;  // what the launch before wrote, where this one may begin before its end
};

/** What one instruction did, over all warps. */
struct SiteCounters {
  uint64_t executed = 0;
  uint64_t wavefronts = 0, idealWavefronts = 0;  // shared memory
  uint64_t sectors = 0, usefulBytes = 0;         // global memory; a sector is 32 bytes

  void add(const SiteCounters& other, uint64_t times = 1) {
    executed += other.executed * times;
    wavefronts += other.wavefronts * times;
    idealWavefronts += other.idealWavefronts * times;
    sectors += other.sectors * times;
    usefulBytes += other.usefulBytes * times;
  }
};

class Worker {
 public:
  Worker(const Launch& l, GlobalOrder& o)
      : launch(l), program(l.program), memory(l.memory), order(o), sites(l.program.code.size()) {}

  const Launch& launch;
  const Program& program;
  GlobalMemory& memory;
  GlobalOrder& order;
  std::vector<SiteCounters> sites;  // by pc
  std::vector<std::pair<uint64_t, uint64_t>>
      written{};  // begins and ends in global memory: GlobalMemory::defined has marks

  /** The allocation that the instruction at `pc` met last: most meet the same one again. */
  struct Hint {
    uint64_t begin = 0, end = 0;
    bool hostVisible = false;
  };
  Hint& hint(uint32_t pc) { return hints_[pc % hints_.size()]; }

 private:
  std::array<Hint, 64> hints_;
};

}  // namespace cudasim
