// Gives virtual registers their places in a warp's register file. Kernels name thousands of registers of which few are
// alive at once; a small file stays in the cache of the host. A register alive at the entry may be read before it is
// written on some path: it gets a place of its own and a mask of the lanes that lack a value.
#pragma once

#include <vector>

#include "machine/kernel_decoder.h"

namespace cudasim {

class RegisterAllocation {
 public:
  RegisterAllocation(const std::vector<VirtualRegister>& registers, const std::vector<Draft>& drafts,
                     const std::vector<std::vector<uint32_t>>& branchTables);

  Slot slot(RegisterId id) const { return slots_[id]; }
  /** Fills in the code, its operands, constants and tracking. */
  void apply(Program& program);

 private:
  using Bits = std::vector<uint64_t>;
  struct Range {
    uint32_t first = ~0u, last = 0;
    void cover(uint32_t at) {
      first = std::min(first, at);
      last = std::max(last, at);
    }
  };
  struct BasicBlock {
    uint32_t begin, end;
    std::vector<uint32_t> successors;
    Bits used, defined, liveIn;
  };

  void findBlocks();
  void successorsOf(uint32_t at, std::vector<uint32_t>& out) const;
  void findLiveness();
  void findRanges();
  void spreadTracking();
  void spread(std::vector<bool>& marked) const;
  void noteProducts(const Draft& draft, Instr& instr, Tracking& tracking) const;
  void assignSlots();
  Slot take(uint32_t bytes);

  const std::vector<VirtualRegister>& registers_;
  const std::vector<Draft>& drafts_;
  const std::vector<std::vector<uint32_t>>& branchTables_;
  std::vector<BasicBlock> blocks_;
  std::vector<Range> ranges_;
  std::vector<bool> tracked_;
  std::vector<Slot> slots_;
  std::vector<Slot> masks_;  // of tracked registers
  std::vector<bool> inProducts_;
  std::vector<Slot> words_;  // of registers in products
  Slot end_ = 0;
  uint32_t constantsEnd_ = 0, mostAlive_ = 0;
};

}  // namespace cudasim
