#include "machine/memory_access.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "machine/early_start.h"
#include "machine/lanes.h"
#include "machine/memory_counters.h"

namespace cudasim {
namespace {

[[noreturn]] void outOfBounds(Warp& warp, uint32_t lane, uint64_t address, uint32_t bytes, const char* space) {
  std::string text = std::string(space) + " access of " + std::to_string(bytes) + " bytes at " + hex(address);
  const std::string_view name = space;
  if (name == "global") text += ", " + warp.block.worker.memory.explain(address);
  if (name == "shared") {
    text += ": the block has [" + hex(kSharedBase) + ", " + hex(kSharedBase + warp.block.shared.size()) + ")";
  }
  if (name == "local") text += ": the thread has " + std::to_string(warp.block.localBytes()) + " bytes";
  throw Fault{FaultKind::IllegalAddress, text, static_cast<int>(lane)};
}

void checkAlignment(uint32_t mask, const uint64_t* address, uint32_t bytes, const Lanes& lanes) {
  if ((lanes.together() & (bytes - 1)) == 0) return;
  forEachLane(mask, [&](uint32_t lane) {
    if ((address[lane] & (bytes - 1)) != 0) misaligned(lane, address[lane], bytes);
  });
}

/** Bounds of all lanes at once where one allocation holds them. True when it may hold bytes never written. */
bool checkBounds(const Access& access, const Lanes& lanes) {
  Worker& worker = access.warp.block.worker;
  uint64_t low = ~0ull, high = 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    low = std::min(low, lanes.at[lane]);
    high = std::max(high, lanes.at[lane]);
  }
  Worker::Hint& hint = worker.hint(access.instr.pc);
  if (low >= hint.begin && high < hint.end && access.bytes <= hint.end - high) return !hint.hostVisible;
  bool own = false;
  forEachLane(access.mask, [&](uint32_t lane) {
    const uint64_t address = access.address[lane];
    if (address >= hint.begin && address < hint.end && access.bytes <= hint.end - address) {
      own |= !hint.hostVisible;
      return;
    }
    const auto found = worker.memory.find(address, access.bytes);
    if (!found) outOfBounds(access.warp, lane, address, access.bytes, "global");
    hint = {found->begin, found->end, found->hostVisible};
    own |= !hint.hostVisible;
  });
  return own;
}

/** The same for one range; null when no allocation holds it all. */
const Worker::Hint* holder(Warp& warp, const Instr& instr, uint64_t address, uint32_t bytes) {
  Worker::Hint& hint = warp.block.worker.hint(instr.pc);
  if (address >= hint.begin && address < hint.end && bytes <= hint.end - address) return &hint;
  const auto found = warp.block.worker.memory.find(address, bytes);
  if (!found) return nullptr;
  hint = {found->begin, found->end, found->hostVisible};
  return &hint;
}

/** f(constant) with the bytes of a lane, so that copies of it are single moves. */
template <class F>
void withBytes(uint32_t bytes, F f) {
  switch (bytes) {
    case 1:
      return f(std::integral_constant<uint32_t, 1>{});
    case 2:
      return f(std::integral_constant<uint32_t, 2>{});
    case 4:
      return f(std::integral_constant<uint32_t, 4>{});
    case 8:
      return f(std::integral_constant<uint32_t, 8>{});
    default:
      return f(std::integral_constant<uint32_t, 16>{});
  }
}

void readGlobal(const Access& access) {
  const Lanes lanes(access.mask, access.address);
  checkAlignment(access.mask, access.address, access.bytes, lanes);
  const GlobalMemory& memory = access.warp.block.worker.memory;
  const bool mayLack = checkBounds(access, lanes);
  checkWaited(access.warp, access.mask, access.address, access.bytes, access.kind == AccessKind::Strong);
  if (access.kind == AccessKind::ReadOnly) checkFixed(access.warp, access.mask, access.address, access.bytes);
  countSectors(access.warp, access.instr, access.mask, access.address, access.bytes);
  withBytes(access.bytes, [&](auto bytes) {
    forEachLane(access.mask, [&](uint32_t lane) {
      const uint64_t address = access.address[lane];
      std::memcpy(access.data + lane * bytes, reinterpret_cast<const void*>(address), bytes);
      if (mayLack && memory.isOwn(address) && !allSet<bytes>(memory.defined(address))) {
        checkReadable(access.warp, lane, address, bytes, access.kind);
      }
    });
  });
}

void writeGlobal(const Access& access) {
  const Lanes lanes(access.mask, access.address);
  checkAlignment(access.mask, access.address, access.bytes, lanes);
  const GlobalMemory& memory = access.warp.block.worker.memory;
  const bool own = checkBounds(access, lanes);
  checkWaited(access.warp, access.mask, access.address, access.bytes, true);
  countSectors(access.warp, access.instr, access.mask, access.address, access.bytes);
  if (access.warp.block.worker.launch.dry) return;
  withBytes(access.bytes, [&](auto bytes) {
    forEachLane(access.mask, [&](uint32_t lane) {
      const uint64_t address = access.address[lane];
      std::memcpy(reinterpret_cast<void*>(address), access.data + lane * bytes, bytes);
      if (own && memory.isOwn(address)) wroteGlobal(access.warp, address, bytes, access.kind == AccessKind::Strong);
    });
  });
}

/** Whole words, plainly: lanes are judged together. */
bool isPlain(const Access& access) { return access.kind == AccessKind::Plain && access.bytes >= 4; }

void readShared(const Access& access) {
  Warp& warp = access.warp;
  checkSharedLanes(warp, access.mask, access.address, access.bytes);
  SharedMemory& shared = warp.block.shared;
  countWavefronts(warp, access.instr, access.mask, access.address, access.bytes);
  const bool plain = isPlain(access);
  alignas(64) uint32_t at[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) at[lane] = static_cast<uint32_t>(access.address[lane]);
  if (plain) shared.readLanes(at, access.bytes, access.mask, warp.index);
  withBytes(access.bytes, [&](auto bytes) {
    forEachLane(access.mask, [&](uint32_t lane) {
      if (!plain) shared.read(at[lane], bytes, kLanes * warp.index + lane, access.kind);
      if (!allSet<bytes>(shared.definedAt(at[lane]))) checkSharedDefined(warp, lane, at[lane], bytes);
      std::memcpy(access.data + lane * bytes, shared.at(at[lane]), bytes);
    });
  });
}

void writeShared(const Access& access) {
  Warp& warp = access.warp;
  checkSharedLanes(warp, access.mask, access.address, access.bytes);
  SharedMemory& shared = warp.block.shared;
  countWavefronts(warp, access.instr, access.mask, access.address, access.bytes);
  const bool plain = isPlain(access);
  alignas(64) uint32_t at[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) at[lane] = static_cast<uint32_t>(access.address[lane]);
  if (plain) shared.writeLanes(at, access.bytes, access.mask, warp.index);
  withBytes(access.bytes, [&](auto bytes) {
    forEachLane(access.mask, [&](uint32_t lane) {
      if (!plain) shared.write(at[lane], bytes, kLanes * warp.index + lane, access.kind);
      std::memcpy(shared.at(at[lane]), access.data + lane * bytes, bytes);
      std::memset(shared.definedAt(at[lane]), 1, bytes);
    });
  });
}

template <bool Writes>
void accessLocal(const Access& access) {
  checkAlignment(access.mask, access.address, access.bytes, Lanes(access.mask, access.address));
  Block& block = access.warp.block;
  forEachLane(access.mask, [&](uint32_t lane) {
    const uint64_t address = access.address[lane];
    if (address > block.localBytes() || block.localBytes() - address < access.bytes) {
      outOfBounds(access.warp, lane, address, access.bytes, "local");
    }
    uint8_t* at = block.local(kLanes * access.warp.index + lane) + address;
    uint8_t* data = access.data + lane * access.bytes;
    Writes ? std::memcpy(at, data, access.bytes) : std::memcpy(data, at, access.bytes);
  });
}

/** The window that a generic address lies in. */
Space spaceOf(uint64_t address) {
  if (address - kSharedWindow < kWindowSize) return Space::Shared;
  if (address - kLocalWindow < kWindowSize) return Space::Local;
  return Space::Global;
}

/** The counters of a full warp that reads a row or one word: no bank is needed twice in a pass. */
void countRow(Warp& warp, const Instr& instr, uint32_t bytes) {
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  const uint32_t passes = std::max(bytes, 4u) / 4;
  site.wavefronts += passes;
  site.idealWavefronts += passes;
}

void countRowSectors(Warp& warp, const Instr& instr, uint64_t first, uint32_t bytes) {
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  site.sectors += (first + bytes - 1) / 32 - first / 32 + 1;
  site.usefulBytes += bytes;
}

using AccessIn = void (*)(const Access&);

void accessGeneric(const Access& access, AccessIn global, AccessIn shared, AccessIn local) {
  for (uint32_t left = access.mask; left != 0;) {
    const Space space = spaceOf(access.address[__builtin_ctz(left)]);
    uint32_t same = 0;
    forEachLane(left, [&](uint32_t lane) { same |= spaceOf(access.address[lane]) == space ? 1u << lane : 0; });
    left &= ~same;
    uint64_t address[kLanes];
    const uint64_t window = space == Space::Shared ? kSharedWindow : space == Space::Local ? kLocalWindow : 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) address[lane] = access.address[lane] - window;
    Access part{access.warp, access.instr, same, access.bytes, address, access.data, access.kind};
    (space == Space::Shared ? shared : space == Space::Local ? local : global)(part);
  }
}

}  // namespace

void misaligned(uint32_t lane, uint64_t address, uint32_t bytes) {
  throw Fault{FaultKind::Misaligned, "address " + hex(address) + " is no multiple of " + std::to_string(bytes),
              static_cast<int>(lane)};
}

void readMemory(Space space, const Access& access) {
  switch (space) {
    case Space::Global:
      return readGlobal(access);
    case Space::Shared:
      return readShared(access);
    case Space::Local:
      return accessLocal<false>(access);
    case Space::Generic:
      return accessGeneric(access, readGlobal, readShared, accessLocal<false>);
  }
}

void writeMemory(Space space, const Access& access) {
  switch (space) {
    case Space::Global:
      return writeGlobal(access);
    case Space::Shared:
      return writeShared(access);
    case Space::Local:
      return accessLocal<true>(access);
    case Space::Generic:
      return accessGeneric(access, writeGlobal, writeShared, accessLocal<true>);
  }
}

namespace {

template <bool Writes>
uint8_t* accessRow(Space space, Warp& warp, const Instr& instr, uint64_t first, uint32_t bytes) {
  const uint32_t all = kLanes * bytes;
  if (space == Space::Generic) {
    space = spaceOf(first);
    if (space == Space::Shared) first -= kSharedWindow;
  }
  if ((first & (bytes - 1)) != 0) return nullptr;
  if (space == Space::Shared) {
    SharedMemory& shared = warp.block.shared;
    if (bytes < 4 || !shared.contains(first, all)) return nullptr;
    const auto at = static_cast<uint32_t>(first);
    if constexpr (Writes) {
      shared.writeRow(at, bytes, warp.index);
      std::memset(shared.definedAt(at), 1, all);
    } else {
      if (!shared.isDefined(at, all)) return nullptr;
      shared.readRow(at, bytes, warp.index);
    }
    countRow(warp, instr, bytes);
    return shared.at(at);
  }
  if (space != Space::Global || warp.waited != kAllLanes || (Writes && warp.block.worker.launch.dry)) return nullptr;
  const Worker::Hint* hint = holder(warp, instr, first, all);
  if (hint == nullptr) return nullptr;
  GlobalMemory& memory = warp.block.worker.memory;
  if (!hint->hostVisible && memory.isOwn(first)) {
    if constexpr (Writes) {
      wroteGlobal(warp, first, all, false);
    } else if (!allSet(memory.defined(first), all)) {
      return nullptr;
    }
  }
  countRowSectors(warp, instr, first, all);
  return reinterpret_cast<uint8_t*>(first);
}

}  // namespace

uint8_t* readRow(Space space, Warp& warp, const Instr& instr, uint64_t first, uint32_t bytes) {
  return accessRow<false>(space, warp, instr, first, bytes);
}

uint8_t* writeRow(Space space, Warp& warp, const Instr& instr, uint64_t first, uint32_t bytes) {
  return accessRow<true>(space, warp, instr, first, bytes);
}

uint8_t* readAsOne(Space space, Warp& warp, const Instr& instr, uint64_t address, uint32_t bytes) {
  if (space == Space::Generic) {
    space = spaceOf(address);
    if (space == Space::Shared) address -= kSharedWindow;
  }
  if ((address & (bytes - 1)) != 0) return nullptr;
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  if (space == Space::Shared) {
    SharedMemory& shared = warp.block.shared;
    if (!shared.contains(address, bytes)) return nullptr;
    const auto at = static_cast<uint32_t>(address);
    if (!allSet(shared.definedAt(at), bytes)) return nullptr;
    shared.readAsOne(at, bytes, warp.index);
    countRow(warp, instr, bytes);
    return shared.at(at);
  }
  if (space != Space::Global || warp.waited != kAllLanes) return nullptr;
  const Worker::Hint* hint = holder(warp, instr, address, bytes);
  if (hint == nullptr) return nullptr;
  const GlobalMemory& memory = warp.block.worker.memory;
  if (!hint->hostVisible && memory.isOwn(address) && !allSet(memory.defined(address), bytes)) return nullptr;
  site.sectors += 1;
  site.usefulBytes += bytes;
  return reinterpret_cast<uint8_t*>(address);
}

void checkGlobal(Warp& warp, const Instr& instr, uint32_t lane, uint64_t address, uint32_t bytes, bool reads) {
  Worker& worker = warp.block.worker;
  Worker::Hint& hint = worker.hint(instr.pc);
  if (address < hint.begin || address >= hint.end || bytes > hint.end - address) {
    const auto found = worker.memory.find(address, bytes);
    if (!found) outOfBounds(warp, lane, address, bytes, "global");
    hint = {found->begin, found->end, found->hostVisible};
  }
  if ((warp.waited >> lane & 1) == 0) {
    uint64_t of[kLanes] = {};
    of[lane] = address;
    checkWaited(warp, 1u << lane, of, bytes, !reads);
  }
  if (!reads || hint.hostVisible || !worker.memory.isOwn(address)) return;
  if (bytes % 16 == 0 && allSet(worker.memory.defined(address), bytes)) return;
  checkReadable(warp, lane, address, bytes, AccessKind::Plain);
}

void checkShared(Warp& warp, uint32_t lane, uint64_t address, uint32_t bytes) {
  if (!warp.block.shared.contains(address, bytes)) outOfBounds(warp, lane, address, bytes, "shared");
}

void checkSharedLanes(Warp& warp, uint32_t mask, const uint64_t* address, uint32_t bytes) {
  const Lanes lanes(mask, address);
  const uint64_t most = warp.block.shared.size() - std::min(warp.block.shared.size(), bytes);
  uint64_t beyond = warp.block.shared.size() < bytes ? 1 : 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane) beyond |= lanes.at[lane] - kSharedBase > most ? 1 : 0;
  if (beyond != 0) forEachLane(mask, [&](uint32_t lane) { checkShared(warp, lane, address[lane], bytes); });
  checkAlignment(mask, address, bytes, lanes);
}

void checkSharedDefined(Warp& warp, uint32_t lane, uint32_t address, uint32_t bytes) {
  if (std::memchr(warp.block.shared.definedAt(address), 0, bytes) == nullptr) return;
  throw Fault{FaultKind::Undefined, "shared memory read at " + hex(address) + " that was never written",
              static_cast<int>(lane)};
}

}  // namespace cudasim
