// What ends a launch: a mistake of the kernel, with the lane that made it.
#pragma once

#include <cstdint>
#include <string>

namespace cudasim {

enum class FaultKind { IllegalAddress, Misaligned, Undefined, Race, Synchronisation, Assert, IllegalInstruction };

struct Fault {
  FaultKind kind;
  std::string what;
  int lane = -1;  // -1: the warp
  int pc = -1;    // -1: the instruction that runs
  int warp = -1;  // -1: the warp that runs
};

std::string hex(uint64_t value);

}  // namespace cudasim
