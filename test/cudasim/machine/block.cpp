#include "machine/block.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <random>

#include "machine/special_registers.h"

namespace cudasim {
namespace {

constexpr uint32_t kWarpLimit = kMaxWarps;

uint32_t warpsOf(const Launch& launch) {
  return std::min<uint32_t>(static_cast<uint32_t>((launch.block.count() + kLanes - 1) / kLanes), kWarpLimit);
}

}  // namespace

Block::Block(Worker& w, Cluster& c, uint32_t r)
    : worker(w),
      cluster(c),
      rank(r),
      shared(w.program.staticShared + w.launch.dynamicShared),
      threads(static_cast<uint32_t>(w.launch.block.count())),
      localBytes_(w.program.localBytes),
      local_(size_t{threads} * localBytes_),
      order_(warpsOf(w.launch)),
      copies_(warpsOf(w.launch)) {
  const uint32_t warps = warpsOf(w.launch);
  const size_t stride =
      (w.program.registerBytes + 63) / 64 * 64 + 64;  // an odd number of lines: no two warps share sets
  registers_.resize(stride * warps + 64);
  auto* first = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(registers_.data()) + 63) / 64 * 64);
  for (uint32_t i = 0; i < warps; ++i) {
    Warp& warp = warps_.emplace_back(*this, i, first + stride * i);
    std::copy(w.program.constants.begin(), w.program.constants.end(), warp.reg<uint8_t>(0));
  }
}

void Block::start(Dim3 blockIndex) {
  index = blockIndex;
  mark = globalMark(*this);
  waited = worker.launch.before == nullptr;
  shared.reset(static_cast<uint32_t>(warps_.size()));
  mbarriers.reset(cluster.blocks.size() == kClusterBlocks ? &cluster.blocks[1 - rank]->shared : nullptr);
  barriers_ = {};
  doneWarps_ = 0;
  running_ = nullptr;
  std::iota(order_.begin(), order_.end(), 0u);
  if (const uint64_t seed = worker.launch.orderSeed; seed != 0) {
    std::shuffle(order_.begin(), order_.end(), std::mt19937_64(seed + index.x + 977 * index.y + 31337 * index.z));
  }
  for (auto& copies : copies_) copies.clear();
  std::fill(local_.begin(), local_.end(), uint8_t{0xCC});
  for (Warp& warp : warps_) {
    const uint32_t lanes = std::min(kLanes, threads - kLanes * warp.index);
    warp.start(lanes == kLanes ? kAllLanes : (1u << lanes) - 1);
    for (const Slot slot : worker.program.undefinedMasks) warp.predicate(slot) = kAllLanes;
    for (const Slot slot : worker.program.productWords) *warp.reg<ProductWord>(slot) = {};
    setSpecialRegisters(warp);
  }
}

bool Block::run(uint32_t turn) {
  bool moved = false;
  for (const uint32_t next : order_) {
    Warp& warp = warps_[next];
    if (warp.state != WarpState::Ready) continue;
    const uint64_t before = warp.progress;
    running_ = &warp;
    warp.run(worker, turn);
    moved |= warp.progress != before;
  }
  running_ = nullptr;
  return moved;
}

void Block::arrive(Warp& warp, const Instr& instr, uint32_t mask, uint32_t id, uint32_t count, bool waits,
                   Reduction reduction) {
  if (id >= barriers_.size()) throw Fault{FaultKind::Synchronisation, "barrier " + std::to_string(id) + " of 16"};
  if (count % kLanes != 0 && count < threads) {
    throw Fault{FaultKind::Synchronisation, "a barrier for " + std::to_string(count) + " threads: not whole warps"};
  }
  Barrier& barrier = barriers_[id];
  const uint32_t expected = (count + kLanes - 1) / kLanes;
  if (barrier.arrivedWarps != 0 && barrier.expectedWarps != expected) {
    throw Fault{FaultKind::Synchronisation, "warps meet at barrier " + std::to_string(id) + " with different counts"};
  }
  barrier.expectedWarps = expected;
  barrier.reduction = reduction;
  ++barrier.arrivedWarps;
  shared.release(warp.index, barrier.clock);
  arriveGlobal(warp, barrier.global);
  if (reduction != Reduction::None) {
    const uint32_t value = warp.predicate(instr.slots[1]);
    barrier.trueLanes += static_cast<uint32_t>(std::popcount(value & mask));
    barrier.lanes += static_cast<uint32_t>(std::popcount(mask));
  }
  if (waits) {
    barrier.waiters.push_back({&warp, &instr, mask});
    warp.state = WarpState::AtBarrier;
  }
  completeIfFull(barrier);
}

void Block::completeIfFull(Barrier& barrier) {
  const size_t expected = barrier.expectedWarps != 0 ? barrier.expectedWarps : warps_.size() - doneWarps_;
  if (barrier.arrivedWarps == 0 || barrier.arrivedWarps < expected) return;
  for (const Waiter& waiter : barrier.waiters) {
    shared.acquire(waiter.warp->index, barrier.clock);
    leaveGlobal(*waiter.warp, barrier.global);
    waiter.warp->state = WarpState::Ready;
    const Slot result = waiter.instr->slots[0];
    switch (barrier.reduction) {
      case Reduction::None:
        break;
      case Reduction::Count:
        assign<uint32_t>(*waiter.warp, result, waiter.mask, [&](uint32_t) { return barrier.trueLanes; });
        break;
      case Reduction::And:
        assignPredicate(*waiter.warp, result, waiter.mask, barrier.trueLanes == barrier.lanes ? kAllLanes : 0);
        break;
      case Reduction::Or:
        assignPredicate(*waiter.warp, result, waiter.mask, barrier.trueLanes != 0 ? kAllLanes : 0);
        break;
    }
  }
  barrier = {};
}

void Block::warpEnded(Warp& warp) {
  ++doneWarps_;
  if (!warp.stores.empty()) {
    throw Fault{FaultKind::Synchronisation,
                "the warp ended without a wait for its bulk stores, which still read shared memory"};
  }
  const uint32_t agent = kProductAgents + warp.index;
  if (warp.products != 0 && (warp.uncommitted || !shared.knows(warp.index, agent, shared.nextClock(agent) - 1))) {
    throw Fault{FaultKind::Synchronisation, "the warp ended without wgmma.wait_group for its products"};
  }
  if (done()) {
    mbarriers.checkOver();
    checkGroups();
    checkWaits();
  }
  completeCluster();
  copies_[warp.index].clear();  // nobody is left who could read them
  for (Barrier& barrier : barriers_) {
    if (barrier.expectedWarps == 0) completeIfFull(barrier);
  }
}

/** At its start a thread has as many as all threads of the largest block can have, a multiple of 8. */
bool Block::setRegisters(const Warp& warp, uint32_t count, bool takes) {
  if (registersOf_.empty()) {
    registersOf_.assign(warps_.size(), std::min(255u, 65536 / worker.program.maxThreads) / 8 * 8);
  }
  uint32_t& own = registersOf_[warp.index];
  if (takes ? count < own : count > own) {
    throw Fault{FaultKind::IllegalInstruction, "setmaxnreg." + std::string(takes ? "inc" : "dec") + " to " +
                                                   std::to_string(count) + " registers from " + std::to_string(own)};
  }
  if (takes && count - own > spareRegisters_) return false;
  spareRegisters_ += own - count;  // wraps where some are taken
  own = count;
  return true;
}

void Block::checkAgents() const {
  checkCluster();
  if (warps_.size() <= kAgentWarps) return;
  throw Fault{FaultKind::IllegalInstruction, "mbarriers, bulk copies and wgmma in a block of " +
                                                 std::to_string(warps_.size()) + " warps: cudasim follows up to " +
                                                 std::to_string(kAgentWarps)};
}

/** Else the launch after this one might begin before the one before it is done. */
void Block::checkWaits() const {
  if (!waited) throw Fault{FaultKind::Synchronisation, "a block ended without griddepcontrol.wait"};
}

void Block::checkGroups() const {
  for (const Warp& warp : warps_) {
    const Warp& first = warps_[warp.index / 4 * 4];
    if (warp.products == first.products) continue;
    throw Fault{FaultKind::Synchronisation, "warps " + std::to_string(first.index) + " and " +
                                                std::to_string(warp.index) + " of one warpgroup ended after " +
                                                std::to_string(first.products) + " and " +
                                                std::to_string(warp.products) + " wgmma"};
  }
}

void Block::copyAsync(uint32_t thread, uint32_t group, uint32_t address, const uint8_t* data, uint32_t bytes) {
  shared.beginCopy(address, bytes, thread);
  Copy& copy = copies_[thread / kLanes].emplace_back(Copy{thread, group, address, bytes, {}});
  std::memcpy(copy.data.data(), data, copy.data.size());
}

void Block::finishCopies(uint32_t warp, uint32_t lanes, const uint32_t* below) {
  std::vector<Copy>& copies = copies_[warp];
  size_t kept = 0;
  for (Copy& copy : copies) {
    const uint32_t lane = copy.thread % kLanes;
    if ((lanes >> lane & 1) != 0 && copy.group < below[lane]) {
      if (copy.bytes == 16) {
        std::memcpy(shared.at(copy.address), copy.data.data(), 16);
      } else {
        std::memcpy(shared.at(copy.address), copy.data.data(), copy.bytes);
      }
      shared.endCopy(copy.address, copy.bytes, copy.thread);
    } else {
      copies[kept++] = copy;
    }
  }
  copies.resize(kept);
}

std::string Block::positions() const {
  std::string text;
  for (const Warp& warp : warps_) {
    if (warp.state == WarpState::Done) continue;
    const bool atBarrier = warp.state == WarpState::AtBarrier;
    text += "\n  warp " + std::to_string(warp.index) + (atBarrier ? " waits at " : " at ") +
            worker.program.describe(atBarrier ? warp.pc - 1 : warp.pc);
  }
  return text;
}

}  // namespace cudasim
