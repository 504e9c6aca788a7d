// Launches that may begin before the one before them is done (programmatic dependent launch), griddepcontrol.
//
// Here they run one after another all the same; what is checked is that nothing would change if they did not. Until a
// lane has come to griddepcontrol.wait it writes nothing, and reads nothing that the launch before wrote; by the
// read-only path (ld.global.nc) it does not read that even then, since the launch before may write while this one is
// there, and compilers may move such loads ahead of the wait. Every block waits, and only then lets the next launch
// come (griddepcontrol.launch_dependents), so that one launch at most is not done when a block begins. The last is
// stricter than CUDA, which allows the two in either order.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace cudasim {

class Warp;

/** Bytes that a launch has written. */
class WrittenRanges {
 public:
  WrittenRanges() = default;
  /** Begins and ends, in any order. */
  explicit WrittenRanges(std::vector<std::pair<uint64_t, uint64_t>> ranges) : ranges_(std::move(ranges)) {}
  /** Before it is asked. */
  void sort();
  bool holdAnyOf(uint64_t address, uint32_t bytes) const;

 private:
  std::vector<std::pair<uint64_t, uint64_t>> ranges_;
};

/** Throws where a lane that has not waited may not access these bytes of global memory. */
void checkWaited(const Warp& warp, uint32_t mask, const uint64_t* address, uint32_t bytes, bool writes);
/** Throws where a lane may not read these bytes of global memory through the read-only path. */
void checkFixed(const Warp& warp, uint32_t mask, const uint64_t* address, uint32_t bytes);
/** griddepcontrol.wait */
void waitForLaunchBefore(Warp& warp, uint32_t mask);
/** griddepcontrol.launch_dependents */
void letNextLaunchCome(const Warp& warp, uint32_t mask);

}  // namespace cudasim
