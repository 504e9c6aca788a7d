#include "machine/mbarrier.h"

#include <cstring>

namespace cudasim {
namespace {

constexpr uint32_t kMostArrivals = (1u << 20) - 1;

[[noreturn]] void fail(const std::string& text, uint32_t thread) {
  throw Fault{FaultKind::Synchronisation, text, static_cast<int>(thread % 32)};
}

std::string name(uint32_t address) { return "mbarrier " + hex(address); }

}  // namespace

void Mbarriers::initialise(uint32_t address, uint32_t expected, uint32_t thread) {
  if (expected == 0 || expected > kMostArrivals) {
    fail("mbarrier.init for " + std::to_string(expected) + " arrivals", thread);
  }
  if (live_.contains(address)) fail(name(address) + " is initialised again without mbarrier.inval", thread);
  shared_.write(address, 8, thread, AccessKind::Plain);
  std::memset(shared_.definedAt(address), 1, 8);
  live_[address] = {.address = address,
                    .agent = made_++ % kBarrierAgents,
                    .expected = expected,
                    .pending = expected,
                    .initialiser = thread / 32};
}

void Mbarriers::invalidate(uint32_t address, uint32_t thread) {
  if (!at(address, thread).copies.empty())
    fail(name(address) + ": invalidated while bulk copies are under way", thread);
  shared_.write(address, 8, thread, AccessKind::Plain);
  live_.erase(address);
}

void Mbarriers::publish(uint32_t warp) {
  for (auto& [address, barrier] : live_) barrier.published |= barrier.initialiser == warp;
}

Mbarrier& Mbarriers::at(uint64_t address, uint32_t thread) {
  const auto found = live_.find(static_cast<uint32_t>(address));
  if (found == live_.end()) fail("no mbarrier was initialised at " + hex(address), thread);
  if (isAbroad(thread)) {
    shared_.readAbroad(found->first, 8, thread);
  } else {
    shared_.read(found->first, 8, thread, AccessKind::Strong);
  }
  return found->second;
}

uint64_t Mbarriers::arrive(Mbarrier& barrier, uint32_t count, uint32_t thread, bool drops) {
  const uint32_t warp = thread / 32;
  const uint32_t completedClock = shared_.nextClock(barrier.agent) - 1;
  if (barrier.phase != 0 && !shared_.knows(warp, barrier.agent, completedClock)) {
    fail("too many arrivals at " + name(barrier.address) + ": this one comes without a wait for the end of phase " +
             std::to_string(barrier.phase - 1) + ", which has all its " + std::to_string(barrier.expected) +
             " already: it may count for either",
         thread);
  }
  if (count == 0 || count > barrier.pending) {
    fail("too many arrivals at " + name(barrier.address) + ": " + std::to_string(count) + " where " +
             std::to_string(barrier.pending) + " are missing",
         thread);
  }
  const uint64_t phase = barrier.phase;
  const bool alone = count == barrier.expected && barrier.bytes == 0;
  barrier.pending -= count;
  if (drops) barrier.expected -= count;
  release(warp, barrier.arrivals);
  completeIfOver(barrier);
  // Nobody else could have ended the phase.
  if (alone && barrier.phase != phase) shared_.learn(warp, barrier.agent, completedClock + 1);
  return phase;
}

void Mbarriers::expect(Mbarrier& barrier, uint32_t bytes) { barrier.bytes += bytes; }

void Mbarriers::complete(Mbarrier& barrier, uint32_t bytes) {
  barrier.bytes -= bytes;
  completeIfOver(barrier);
}

void Mbarriers::addCopy(Mbarrier& barrier, BulkCopy copy, uint32_t thread) {
  if (!barrier.published) {
    fail(name(barrier.address) +
             " is used by a bulk copy with no fence.mbarrier_init or fence.proxy.async since its "
             "initialisation",
         thread);
  }
  shared_.beginBulk(copy.address, static_cast<uint32_t>(copy.data.size()), thread);
  // A copy from another block comes after all that its thread had seen, and so does who waits for the copy.
  if (isAbroad(thread)) release(thread / 32, barrier.arrivals);
  barrier.copies.push_back(std::move(copy));
}

void Mbarriers::deliver(Mbarrier& barrier) {
  const std::vector<BulkCopy> arriving = std::move(barrier.copies);
  barrier.copies.clear();
  for (const BulkCopy& copy : arriving) {
    const auto size = static_cast<uint32_t>(copy.data.size());
    std::memcpy(shared_.at(copy.address), copy.data.data(), size);
    shared_.endBulk(copy.address, size, barrier.agent);
    barrier.bytes -= size;
  }
  if (barrier.pending == 0 && barrier.bytes < 0) {
    throw Fault{FaultKind::Synchronisation, name(barrier.address) + ": " + std::to_string(-barrier.bytes) +
                                                " bytes more arrived than expect_tx said"};
  }
  completeIfOver(barrier);
}

void Mbarriers::completeIfOver(Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.expected;
  shared_.advanceAgent(barrier.agent);
  barrier.arrivals.own.agents[barrier.agent] = shared_.nextClock(barrier.agent) - 1;
  barrier.completed = barrier.arrivals;
}

bool Mbarriers::wait(Mbarrier& barrier, uint64_t phase, uint32_t warp) {
  if (barrier.phase <= phase && barrier.pending == 0) deliver(barrier);
  if (barrier.phase <= phase) return false;
  acquire(warp, barrier.completed);
  return true;
}

void Mbarriers::release(uint32_t warp, ClusterClock& into) {
  shared_.release(warp, into.own);
  if (peer_ != nullptr) peer_->release(warpAbroad(warp), into.peer);
}

void Mbarriers::acquire(uint32_t warp, const ClusterClock& from) {
  shared_.acquire(warp, from.own);
  if (peer_ != nullptr) peer_->acquire(warpAbroad(warp), from.peer);
}

std::string Mbarriers::describe() const {
  std::string text;
  for (const auto& [address, barrier] : live_) {
    if (barrier.pending == barrier.expected && barrier.bytes == 0) continue;
    text += "\n  " + name(address) + ", phase " + std::to_string(barrier.phase) + ": " +
            std::to_string(barrier.pending) + " of " + std::to_string(barrier.expected) + " arrivals missing, " +
            (barrier.bytes < 0 ? std::to_string(-barrier.bytes) + " bytes more than expected"
                               : std::to_string(barrier.bytes) + " bytes missing");
    if (!barrier.copies.empty()) text += ", " + std::to_string(barrier.copies.size()) + " copies under way";
  }
  return text;
}

void Mbarriers::checkOver() const {
  for (const auto& [address, barrier] : live_) {
    if (barrier.copies.empty()) continue;
    throw Fault{FaultKind::Synchronisation,
                "the block ended while a bulk copy to its shared memory, which arrives at " + name(address) +
                    ", was under way"};
  }
}

}  // namespace cudasim
