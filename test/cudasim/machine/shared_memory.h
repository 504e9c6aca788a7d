// Shared memory of one block: bytes, which were written, and for every word the last writer and readers, so that two
// accesses with no barrier between them are found (vector clocks: a barrier, a named barrier, an mbarrier or a
// __syncwarp orders what came before it on one side with what comes after on the other).
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "machine/fault.h"

namespace cudasim {

constexpr uint32_t kMaxWarps = 32;
/** Addresses of shared memory begin here, so that 0 is never one. */
constexpr uint32_t kSharedBase = 1024;

/** Where a variable begins that comes behind `used` bytes of shared memory: on a multiple of its alignment, and of no
 * more, as a driver may place it. */
constexpr uint32_t sharedPlace(uint32_t used, uint64_t align) {
  const uint64_t at = (used + align - 1) / align * align;
  return static_cast<uint32_t>(at % (2 * align) == 0 ? at + align : at);
}

/** True when all bytes are 1, of bytes that are 0 or 1; their number is 1, 2, 4, 8 or a multiple of 16. */
bool allSet(const uint8_t* flags, size_t bytes);
/** The same for up to 16. */
template <uint32_t Bytes>
bool allSet(const uint8_t* flags) {
  using Word =
      std::conditional_t<Bytes == 1, uint8_t,
                         std::conditional_t<Bytes == 2, uint16_t, std::conditional_t<Bytes == 4, uint32_t, uint64_t>>>;
  constexpr auto kOnes = static_cast<Word>(0x0101010101010101);
  Word low, high;
  std::memcpy(&low, flags, sizeof low);
  std::memcpy(&high, flags + Bytes - sizeof high, sizeof high);
  return (low & high) == kOnes;
}

/** Who touches shared memory beside the threads, each with a clock of its own: the copies that arrive at one mbarrier
 * (writes), the products and the bulk stores that one warp has under way (reads). */
constexpr uint32_t kBarrierAgents = 64, kProductAgents = kBarrierAgents, kStoreAgents = kProductAgents + 16,
                   kAgents = kStoreAgents + 16;
/** Blocks with more warps than this have no agents: their entries stand where those of threads 512.. would. */
constexpr uint32_t kAgentWarps = 16;

/** What is known to be over: for each warp and agent up to which of its clocks. */
struct VectorClock {
  std::array<uint32_t, kMaxWarps> warps{};
  std::array<uint32_t, kMaxWarps> proxied{};  // of warps: what fence.proxy.async has passed on to the async proxy
  std::array<uint32_t, kAgents> agents{};
};

/** Strong: atomic or volatile, not a race among themselves; ReadOnly: through the path of what nobody writes. */
enum class AccessKind { Plain, Strong, ReadOnly };

class SharedMemory {
 public:
  explicit SharedMemory(uint32_t bytes);

  /** As at the start of a block: nothing written, nobody was here. */
  void reset(uint32_t warps);
  uint32_t size() const { return size_; }
  bool contains(uint64_t address, uint32_t bytes) const {
    return address >= kSharedBase && address - kSharedBase + bytes <= size_;
  }
  uint8_t* at(uint32_t address) { return bytes_.data() + (address - kSharedBase); }
  uint8_t* definedAt(uint32_t address) { return defined_.data() + (address - kSharedBase); }

  /** Records and judges accesses of `bytes` at `address` by one thread; bytes of a word count where they are fewer. */
  void read(uint32_t address, uint32_t bytes, uint32_t thread, AccessKind kind);
  void write(uint32_t address, uint32_t bytes, uint32_t thread, AccessKind kind);
  /** Judges a read by a thread of another block of the cluster, and keeps no record of it. */
  void readAbroad(uint32_t address, uint32_t bytes, uint32_t thread) const;
  /** The same for `bytes` (4, 8, 16) a lane of a full warp, side by side. */
  void readRow(uint32_t address, uint32_t bytes, uint32_t warp);
  void writeRow(uint32_t address, uint32_t bytes, uint32_t warp);
  /** The same for `bytes` (4, 8, 16) at the address of each lane of `mask`. */
  void readLanes(const uint32_t* address, uint32_t bytes, uint32_t mask, uint32_t warp);
  void writeLanes(const uint32_t* address, uint32_t bytes, uint32_t mask, uint32_t warp);
  /** The same for all lanes that read one address. */
  void readAsOne(uint32_t address, uint32_t bytes, uint32_t warp);
  /** The same for 16 bytes a lane at addresses that are multiples of 16: `count` lanes, an even number. */
  void readChunks(const uint32_t* address, uint32_t count, uint32_t warp);

  /** False when a byte of these was never written; bytes is 4 or a multiple of 16. */
  bool isDefined(uint32_t address, uint32_t bytes) { return allSet(definedAt(address), bytes); }

  /** An asynchronous copy is under way to these bytes: nobody may read them. */
  void beginCopy(uint32_t address, uint32_t bytes, uint32_t thread);
  /** It has arrived, as if `thread` had written now. */
  void endCopy(uint32_t address, uint32_t bytes, uint32_t thread);

  // The async proxy: TMA, bulk copies, wgmma. `thread` issues; addresses and sizes are multiples of 16.
  /** As beginCopy; what generic accesses wrote there must have been passed on. */
  void beginBulk(uint32_t address, uint32_t bytes, uint32_t thread);
  /** The copy has arrived, as the next of the agent's clocks. */
  void endBulk(uint32_t address, uint32_t bytes, uint32_t agent);
  /** A product or a bulk store of the warp reads 16 bytes, over at the agent's clock `until`. */
  void readAsync(uint32_t address, uint32_t warp, uint32_t agent, uint32_t until);
  /** The next clock of an agent. */
  uint32_t nextClock(uint32_t agent) const { return agentClocks_[agent] + 1; }
  void advanceAgent(uint32_t agent);
  /** The warp has seen the end of what the agent did up to this clock. */
  void learn(uint32_t warp, uint32_t agent, uint32_t clock);
  bool knows(uint32_t warp, uint32_t agent, uint32_t clock) const { return known_[warp].agents[agent] >= clock; }
  /** fence.proxy.async; `whole`: by all lanes of the warp. */
  void proxyFence(uint32_t warp, bool whole);

  /** What this warp did becomes known to whoever acquires `into`. */
  void release(uint32_t warp, VectorClock& into);
  void acquire(uint32_t warp, const VectorClock& from);
  /** The lanes of the warp have met. */
  void syncWarp(uint32_t warp) { advance(warp); }

 private:
  // An entry: clock of the warp, strong, thread, bytes of the word.
  static constexpr uint32_t kClockShift = 15, kPendingClock = (1u << 17) - 1;
  static uint32_t clockOf(uint32_t entry) { return entry >> kClockShift; }
  static uint32_t threadOf(uint32_t entry) { return entry >> 4 & 1023; }
  static constexpr uint32_t kFirstAgent = 32 * kAgentWarps;  // as a thread
  // Clocks of warps stay below those of agents, so that no comparison with a warp's clock takes an agent's for over.
  static constexpr uint32_t kAgentClock = 1u << 16;
  bool isAgent(uint32_t entry) const { return warps_ <= kAgentWarps && threadOf(entry) >= kFirstAgent; }
  static bool isStrong(uint32_t entry) { return (entry & 1u << 14) != 0; }
  uint32_t entry(uint32_t thread, AccessKind kind, uint32_t byteMask) const {
    return clocks_[thread / 32] << kClockShift | (kind == AccessKind::Strong ? 1u << 14 : 0) | thread << 4 | byteMask;
  }
  bool ordered(uint32_t entry, uint32_t thread) const {
    if (isAgent(entry)) return clockOf(entry) <= known_[thread / 32].agents[threadOf(entry) - kFirstAgent];
    return clockOf(entry) <= known_[thread / 32].warps[threadOf(entry) / 32] || threadOf(entry) == thread;
  }
  void advance(uint32_t warp);
  void forget();
  /** Asynchronous reads of these bytes must be over when a thread writes them. */
  void judgeAsyncReads(uint32_t address, uint32_t bytes, uint32_t thread) const;
  /** True when the async proxy sees what the thread of this entry wrote. */
  bool passedOn(uint32_t entry, uint32_t warp) const {
    return isAgent(entry) || clockOf(entry) <= known_[warp].proxied[threadOf(entry) / 32];
  }
  void noteReader(uint32_t word, uint32_t made);
  /** Entries up to this are over for everybody, as far as the warp knows. */
  uint32_t overForAll(uint32_t warp) const { return ((knownByAll_[warp] + 1) << kClockShift) - 1; }
  /** True where a plain access of the thread may race with the whole word's earlier one. */
  bool races(uint32_t before, uint32_t thread) const {
    return before != 0 && (clockOf(before) == kPendingClock || !ordered(before, thread));
  }
  // Eight words at once.
  struct Judge;
  template <uint32_t Words>
  bool readWords(uint32_t word, uint32_t warp);
  template <uint32_t Words>
  bool writeWords(uint32_t word, uint32_t warp);
  template <uint32_t Words>
  void readLanesOf(const uint32_t* address, uint32_t mask, uint32_t warp);
  template <uint32_t Words>
  void writeLanesOf(const uint32_t* address, uint32_t mask, uint32_t warp);
  [[noreturn]] void race(const char* what, uint32_t entry, uint32_t word, uint32_t thread) const;

  uint32_t size_, warps_ = 0;
  std::vector<uint8_t> bytes_, defined_;
  std::vector<uint32_t> writers_, readers_, otherReaders_;  // by word; otherReaders_: by another warp than readers_
  std::array<uint32_t, kMaxWarps> clocks_;                  // of each warp, from 1
  std::array<VectorClock, kMaxWarps> known_;
  std::array<uint32_t, kMaxWarps> knownByAll_;  // lower bound over known_[warp]
  std::array<uint32_t, kAgents> agentClocks_;
  std::vector<uint32_t> asyncReads_;  // [bytes / kReadGrain, agents that read]: their clock; empty before the first
  static constexpr uint32_t kReadGrain = 32, kReaders = kAgents - kProductAgents;
};

}  // namespace cudasim
