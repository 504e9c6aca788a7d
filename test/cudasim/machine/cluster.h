// Blocks that run together and may use each other's shared memory: mapa, arrivals at mbarriers of another block,
// multicast bulk copies, barrier.cluster. Clusters of one or two blocks; larger ones run as long as they use none of
// it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "machine/shared_memory.h"

namespace cudasim {

class Block;

constexpr uint32_t kClusterBlocks = 2;
/** Shared addresses of block i of the cluster, as mapa makes them for the others, begin at (i + 1) << this. */
constexpr uint32_t kRankShift = 24;

struct Cluster {
  std::vector<Block*> blocks;  // by rank
  // barrier.cluster; clocks by the block whose memory they speak of.
  uint32_t arrived = 0, phase = 0;
  std::array<VectorClock, kClusterBlocks> arrivals{}, completed{};

  void reset() {
    arrived = phase = 0;
    arrivals = completed = {};
  }
};

/** In the clocks of one block the warps of the other one stand after its own, and so do its threads. */
constexpr uint32_t warpAbroad(uint32_t warp) { return warp ^ kAgentWarps; }
constexpr uint32_t threadAbroad(uint32_t thread) { return thread ^ (32 * kAgentWarps); }
constexpr bool isAbroad(uint32_t thread) { return thread >= 32 * kAgentWarps; }

}  // namespace cudasim
