#include "machine/global_order.h"

#include <algorithm>
#include <cstring>

#include "machine/block.h"

namespace cudasim {
namespace {

constexpr uint8_t kBefore = 1;  // written before this launch
constexpr uint32_t kMarks = 127;

void join(GlobalClock& into, const GlobalClock& other) {
  for (const auto& [warp, interval] : other) {
    uint32_t& own = into[warp];
    own = std::max(own, interval);
  }
}

uint64_t numberOf(const Block& block) {
  const Dim3& grid = block.worker.launch.grid;
  return (uint64_t{block.index.z} * grid.y + block.index.y) * grid.x + block.index.x;
}

uint64_t idOf(const Warp& warp) { return numberOf(warp.block) * kMaxWarps + warp.index; }

bool followed(const Warp& warp) {
  const Worker& worker = warp.block.worker;
  return worker.launch.followsWarps || worker.program.usesGlobalAtomics;
}

}  // namespace

void GlobalOrder::wrote(uint64_t address, uint32_t bytes, uint64_t warp, uint32_t interval) {
  for (uint64_t word = address / 4; word <= (address + bytes - 1) / 4; ++word) {
    Shard& at = shard(4 * word);
    const std::lock_guard guard(at.lock);
    at.writers[word] = {warp, interval};
  }
}

bool GlobalOrder::mayRead(uint64_t address, uint32_t bytes, uint64_t warp, const GlobalClock& clock) {
  for (uint64_t word = address / 4; word <= (address + bytes - 1) / 4; ++word) {
    Shard& at = shard(4 * word);
    const std::lock_guard guard(at.lock);
    const auto writer = at.writers.find(word);
    if (writer == at.writers.end() || writer->second.first == warp) continue;
    const auto known = clock.find(writer->second.first);
    if (known == clock.end() || known->second < writer->second.second) return false;
  }
  return true;
}

void GlobalOrder::meet(uint64_t address, WarpOrder& order) {
  Shard& at = shard(address);
  const std::lock_guard guard(at.lock);
  GlobalClock& met = at.met[address];
  join(order.pending, met);
  join(met, order.published);
}

uint8_t globalMark(const Block& block) {
  const Dim3 &grid = block.worker.launch.grid, &cluster = block.worker.launch.cluster, &at = block.index;
  const uint64_t number =
      (uint64_t{at.z / cluster.z} * (grid.y / cluster.y) + at.y / cluster.y) * (grid.x / cluster.x) + at.x / cluster.x;
  return static_cast<uint8_t>(2 + 2 * (number % kMarks));
}

void wroteGlobal(Warp& warp, uint64_t address, uint32_t bytes, bool strong) {
  Worker& worker = warp.block.worker;
  uint8_t* defined = worker.memory.defined(address);
  std::memset(defined, strong ? kBefore : warp.block.mark, bytes);
  auto& written = worker.written;
  if (!written.empty() && written.back().second == address) {
    written.back().second = address + bytes;
  } else {
    written.emplace_back(address, address + bytes);
  }
  if (!strong && followed(warp)) worker.order.wrote(address, bytes, idOf(warp), warp.order.interval);
}

void checkReadable(Warp& warp, uint32_t lane, uint64_t address, uint32_t bytes, AccessKind kind) {
  Worker& worker = warp.block.worker;
  const uint8_t* defined = worker.memory.defined(address);
  const auto refuse = [&](FaultKind fault, const std::string& why) {
    throw Fault{fault, "global memory read at " + hex(address) + " that " + why + ", " + worker.memory.explain(address),
                static_cast<int>(lane)};
  };
  const bool follows = followed(warp);
  const auto isOwn = [&](uint8_t d) { return d == warp.block.mark; };
  if (kind == AccessKind::Plain && !follows && std::all_of(defined, defined + bytes, isOwn)) return;
  bool judged = false;
  for (uint32_t i = 0; i < bytes; ++i) {
    if (defined[i] == 0) refuse(FaultKind::Undefined, "was never written");
    if (defined[i] == kBefore || kind == AccessKind::Strong) continue;
    if (kind == AccessKind::ReadOnly) refuse(FaultKind::Race, "this launch wrote, through the read-only path");
    judged |= follows || !isOwn(defined[i]);
  }
  if (!judged || worker.program.readsGlobalStrongly) return;
  if (follows && worker.order.mayRead(address, bytes, idOf(warp), warp.order.known)) return;
  refuse(FaultKind::Race, "another " + std::string(follows ? "warp" : "block") +
                              " wrote in this launch, with nothing that orders the two");
}

void fenceGlobal(Warp& warp) {
  if (!followed(warp)) return;
  WarpOrder& order = warp.order;
  join(order.known, order.pending);
  order.pending.clear();
  order.published = order.known;
  order.published[idOf(warp)] = order.interval++;
}

void meetGlobal(Warp& warp, uint64_t address) {
  if (followed(warp)) warp.block.worker.order.meet(address, warp.order);
}

void arriveGlobal(Warp& warp, GlobalClock& barrier) {
  if (!followed(warp)) return;
  join(barrier, warp.order.known);
  barrier[idOf(warp)] = warp.order.interval++;
}

void leaveGlobal(Warp& warp, const GlobalClock& barrier) {
  if (followed(warp)) join(warp.order.known, barrier);
}

}  // namespace cudasim
