// Shared memory as the async proxy uses it: bulk copies write it and arrive at an mbarrier, products (wgmma) and bulk
// stores read it until they are waited for. What threads wrote reaches the async proxy only past a fence.proxy.async.
#include <algorithm>
#include <cstring>

#include "machine/shared_memory.h"

namespace cudasim {

void SharedMemory::beginBulk(uint32_t address, uint32_t bytes, uint32_t thread) {
  if (!asyncReads_.empty()) judgeAsyncReads(address, bytes, thread);
  const uint32_t first = (address - kSharedBase) / 4, warp = thread / 32;
  const uint32_t pending = kPendingClock << kClockShift | thread << 4 | 15;
  uint32_t good[3] = {};  // found in order before: most words of a tile have the same history
  for (uint32_t word = first; word < first + bytes / 4; ++word) {
    const uint32_t before[3] = {writers_[word], readers_[word], otherReaders_[word]};
    for (uint32_t i = 0; i < 3; ++i) {
      if (before[i] == good[i] || before[i] == 0) continue;
      if (clockOf(before[i]) == kPendingClock || !ordered(before[i], thread)) {
        race("race: bulk copy to", before[i], word, thread);
      }
      if (i == 0 && !passedOn(before[i], warp)) {
        throw Fault{FaultKind::Race,
                    "bulk copy to shared address " + hex(kSharedBase + 4 * word) + ", which thread " +
                        std::to_string(threadOf(before[i])) + " wrote with no fence.proxy.async since",
                    static_cast<int>(thread % 32)};
      }
      good[i] = before[i];
    }
    writers_[word] = pending;
  }
}

void SharedMemory::endBulk(uint32_t address, uint32_t bytes, uint32_t agent) {
  const uint32_t first = (address - kSharedBase) / 4;
  const uint32_t made = nextClock(agent) << kClockShift | (kFirstAgent + agent) << 4 | 15;
  std::fill_n(writers_.begin() + first, bytes / 4, made);
  std::memset(definedAt(address), 1, bytes);
}

void SharedMemory::readAsync(uint32_t address, uint32_t warp, uint32_t agent, uint32_t until) {
  const uint32_t first = (address - kSharedBase) / 4;
  uint32_t good = 0;
  for (uint32_t word = first; word < first + 4; ++word) {
    const uint32_t writer = writers_[word];
    if (writer == good || writer == 0) continue;
    if (clockOf(writer) == kPendingClock || !ordered(writer, 32 * warp)) {
      race("race: asynchronous read of", writer, word, 32 * warp);
    }
    if (!passedOn(writer, warp)) {
      throw Fault{FaultKind::Race, "asynchronous read of shared address " + hex(kSharedBase + 4 * word) +
                                       ", which thread " + std::to_string(threadOf(writer)) +
                                       " wrote with no fence.proxy.async since"};
    }
    good = writer;
  }
  if (asyncReads_.empty()) asyncReads_.resize((size_ / kReadGrain + 1) * kReaders);
  asyncReads_[(address - kSharedBase) / kReadGrain * kReaders + agent - kProductAgents] = until;
}

void SharedMemory::judgeAsyncReads(uint32_t address, uint32_t bytes, uint32_t thread) const {
  const VectorClock& known = known_[thread / 32];
  const uint32_t offset = address - kSharedBase;
  for (uint32_t grain = offset / kReadGrain; grain <= (offset + bytes - 1) / kReadGrain; ++grain) {
    const uint32_t* read = &asyncReads_[grain * kReaders];
    const uint32_t* upTo = &known.agents[kProductAgents];
    uint32_t later = 0;
    for (uint32_t i = 0; i < kReaders; ++i) later |= read[i] > upTo[i] ? 1u : 0u;
    if (later == 0) continue;
    const auto who = static_cast<uint32_t>(
        std::mismatch(read, read + kReaders, upTo, [](uint32_t a, uint32_t b) { return a <= b; }).first - read);
    const bool product = who < kStoreAgents - kProductAgents;
    throw Fault{FaultKind::Race,
                "race: write to shared address " + hex(kSharedBase + grain * kReadGrain) + " by thread " +
                    std::to_string(thread) + " while " + (product ? "a wgmma" : "a bulk store") + " of warp " +
                    std::to_string(who % (kStoreAgents - kProductAgents)) + " may still read it",
                static_cast<int>(thread % 32)};
  }
}

void SharedMemory::advanceAgent(uint32_t agent) {
  if (++agentClocks_[agent] < kPendingClock - 1) return;
  forget();
}

void SharedMemory::learn(uint32_t warp, uint32_t agent, uint32_t clock) {
  uint32_t& known = known_[warp].agents[agent];
  known = std::max(known, clock);
}

void SharedMemory::proxyFence(uint32_t warp, bool whole) {
  if (whole) advance(warp);
  VectorClock& known = known_[warp];
  for (uint32_t other = 0; other < warps_; ++other) {
    known.proxied[other] = std::max(known.proxied[other], known.warps[other]);
  }
}

}  // namespace cudasim
