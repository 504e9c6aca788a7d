#include "machine/cluster.h"

#include "machine/block.h"

namespace cudasim {

void Block::checkCluster() const {
  const uint64_t size = worker.launch.cluster.count();
  if (size == 1 || (size <= kClusterBlocks && warps_.size() <= kAgentWarps)) return;
  throw Fault{FaultKind::IllegalInstruction,
              "a cluster of " + std::to_string(size) + " blocks of " + std::to_string(warps_.size()) +
                  " warps: cudasim runs this for up to " + std::to_string(kClusterBlocks) + " blocks of " +
                  std::to_string(kAgentWarps)};
}

Block& Block::inCluster(uint32_t of) {
  checkCluster();
  if (of >= cluster.blocks.size()) {
    throw Fault{FaultKind::IllegalInstruction,
                "block " + std::to_string(of) + " of a cluster of " + std::to_string(cluster.blocks.size())};
  }
  Block& block = *cluster.blocks[of];
  if (block.done()) {
    throw Fault{FaultKind::Synchronisation,
                "shared memory of block " + std::to_string(of) + " of the cluster is used, which has ended"};
  }
  return block;
}

void Block::arriveCluster(Warp& warp) {
  checkCluster();
  if (warp.clusterPhase > cluster.phase) {
    throw Fault{FaultKind::Synchronisation, "barrier.cluster.arrive twice without a wait"};
  }
  warp.clusterPhase = cluster.phase + 1;
  ++cluster.arrived;
  for (Block* block : cluster.blocks) {
    block->shared.release(block == this ? warp.index : warpAbroad(warp.index), cluster.arrivals[block->rank]);
  }
  completeCluster();
}

void Block::completeCluster() {
  size_t running = 0;
  for (const Block* block : cluster.blocks) running += block->warps_.size() - block->doneWarps_;
  if (cluster.arrived == 0 || cluster.arrived < running) return;
  ++cluster.phase;
  cluster.arrived = 0;
  cluster.completed = cluster.arrivals;
}

bool Block::waitCluster(Warp& warp) {
  if (warp.clusterPhase > cluster.phase) return false;
  for (Block* block : cluster.blocks) {
    block->shared.acquire(block == this ? warp.index : warpAbroad(warp.index), cluster.completed[block->rank]);
  }
  return true;
}

}  // namespace cudasim
