#include "machine/memory_access.h"

#include <algorithm>
#include <cstring>

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

/** All active addresses in order, `bytes` apart, of a full warp: the common case, done as one block. */
bool isRow(const Access& access) {
  if (access.mask != kAllLanes) return false;
  const uint64_t first = access.address[0];
  uint64_t differs = 0;
  for (uint32_t lane = 0; lane < kLanes; ++lane)
    differs |= access.address[lane] ^ (first + uint64_t{lane} * access.bytes);
  return differs == 0;
}

void checkAlignment(const Access& access) {
  uint64_t low = 0;
  forEachLane(access.mask, [&](uint32_t lane) { low |= access.address[lane]; });
  if ((low & (access.bytes - 1)) == 0) return;
  forEachLane(access.mask, [&](uint32_t lane) {
    if ((access.address[lane] & (access.bytes - 1)) != 0) misaligned(lane, access.address[lane], access.bytes);
  });
}

/** Bounds of all lanes at once where one allocation holds them. True when it may hold bytes never written. */
bool checkBounds(const Access& access) {
  Worker& worker = access.warp.block.worker;
  uint64_t low = ~0ull, high = 0;
  forEachLane(access.mask, [&](uint32_t lane) {
    low = std::min(low, access.address[lane]);
    high = std::max(high, access.address[lane]);
  });
  Worker::Hint& hint = worker.hint(access.instr.pc);
  if (low >= hint.begin && high + access.bytes <= hint.end) return !hint.hostVisible;
  bool own = false;
  forEachLane(access.mask, [&](uint32_t lane) {
    const uint64_t address = access.address[lane];
    if (address >= hint.begin && address + access.bytes <= hint.end) {
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

void readGlobal(const Access& access) {
  checkAlignment(access);
  const GlobalMemory& memory = access.warp.block.worker.memory;
  const bool mayLack = checkBounds(access);
  countSectors(access.warp, access.instr, access.mask, access.address, access.bytes);
  const auto lacks = [&](uint64_t address, uint32_t bytes) {
    return memory.isOwn(address) && std::memchr(memory.defined(address), 0, bytes) != nullptr;
  };
  if (isRow(access)) {
    const uint32_t all = kLanes * access.bytes;
    std::memcpy(access.data, reinterpret_cast<const void*>(access.address[0]), all);
    if (!mayLack || !lacks(access.address[0], all)) return;
  }
  forEachLane(access.mask, [&](uint32_t lane) {
    const uint64_t address = access.address[lane];
    std::memcpy(access.data + lane * access.bytes, reinterpret_cast<const void*>(address), access.bytes);
    if (mayLack && lacks(address, access.bytes)) {
      throw Fault{FaultKind::Undefined,
                  "global memory read at " + hex(address) + " that was never written, " + memory.explain(address),
                  static_cast<int>(lane)};
    }
  });
}

void writeGlobal(const Access& access) {
  checkAlignment(access);
  const GlobalMemory& memory = access.warp.block.worker.memory;
  const bool own = checkBounds(access);
  countSectors(access.warp, access.instr, access.mask, access.address, access.bytes);
  if (isRow(access)) {
    const uint32_t all = kLanes * access.bytes;
    std::memcpy(reinterpret_cast<void*>(access.address[0]), access.data, all);
    if (own) std::memset(memory.defined(access.address[0]), 1, all);
    return;
  }
  forEachLane(access.mask, [&](uint32_t lane) {
    const uint64_t address = access.address[lane];
    std::memcpy(reinterpret_cast<void*>(address), access.data + lane * access.bytes, access.bytes);
    if (own && memory.isOwn(address)) std::memset(memory.defined(address), 1, access.bytes);
  });
}

void checkSharedBounds(const Access& access) {
  forEachLane(access.mask, [&](uint32_t lane) { checkShared(access.warp, lane, access.address[lane], access.bytes); });
  checkAlignment(access);
}

void readShared(const Access& access) {
  checkSharedBounds(access);
  Warp& warp = access.warp;
  SharedMemory& shared = warp.block.shared;
  countWavefronts(warp, access.instr, access.mask, access.address, access.bytes);
  const auto first = static_cast<uint32_t>(access.address[0]);
  if (access.bytes == 4 && access.kind == AccessKind::Plain && isRow(access) &&
      std::memchr(shared.definedAt(first), 0, 4 * kLanes) == nullptr) {
    shared.readRow(first, warp.index);
    std::memcpy(access.data, shared.at(first), 4 * kLanes);
    return;
  }
  forEachLane(access.mask, [&](uint32_t lane) {
    const auto address = static_cast<uint32_t>(access.address[lane]);
    shared.read(address, access.bytes, kLanes * warp.index + lane, access.kind);
    checkSharedDefined(warp, lane, address, access.bytes);
    std::memcpy(access.data + lane * access.bytes, shared.at(address), access.bytes);
  });
}

void writeShared(const Access& access) {
  checkSharedBounds(access);
  Warp& warp = access.warp;
  SharedMemory& shared = warp.block.shared;
  countWavefronts(warp, access.instr, access.mask, access.address, access.bytes);
  if (access.bytes == 4 && access.kind == AccessKind::Plain && isRow(access)) {
    const auto first = static_cast<uint32_t>(access.address[0]);
    shared.writeRow(first, warp.index);
    std::memcpy(shared.at(first), access.data, 4 * kLanes);
    std::memset(shared.definedAt(first), 1, 4 * kLanes);
    return;
  }
  forEachLane(access.mask, [&](uint32_t lane) {
    const auto address = static_cast<uint32_t>(access.address[lane]);
    shared.write(address, access.bytes, kLanes * warp.index + lane, access.kind);
    std::memcpy(shared.at(address), access.data + lane * access.bytes, access.bytes);
    std::memset(shared.definedAt(address), 1, access.bytes);
  });
}

template <bool Writes>
void accessLocal(const Access& access) {
  checkAlignment(access);
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

void checkGlobal(Warp& warp, const Instr& instr, uint32_t lane, uint64_t address, uint32_t bytes, bool reads) {
  Worker& worker = warp.block.worker;
  Worker::Hint& hint = worker.hint(instr.pc);
  if (address < hint.begin || address + bytes > hint.end) {
    const auto found = worker.memory.find(address, bytes);
    if (!found) outOfBounds(warp, lane, address, bytes, "global");
    hint = {found->begin, found->end, found->hostVisible};
  }
  if (reads && !hint.hostVisible && std::memchr(worker.memory.defined(address), 0, bytes) != nullptr) {
    throw Fault{FaultKind::Undefined,
                "global memory read at " + hex(address) + " that was never written, " + worker.memory.explain(address),
                static_cast<int>(lane)};
  }
}

void checkShared(Warp& warp, uint32_t lane, uint64_t address, uint32_t bytes) {
  if (!warp.block.shared.contains(address, bytes)) outOfBounds(warp, lane, address, bytes, "shared");
}

void checkSharedDefined(Warp& warp, uint32_t lane, uint32_t address, uint32_t bytes) {
  if (std::memchr(warp.block.shared.definedAt(address), 0, bytes) == nullptr) return;
  throw Fault{FaultKind::Undefined, "shared memory read at " + hex(address) + " that was never written",
              static_cast<int>(lane)};
}

void countWavefronts(Warp& warp, const Instr& instr, uint32_t mask, const uint64_t* address, uint32_t bytes) {
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  const uint32_t lanesAtOnce = std::min(kLanes, 128 / std::max(bytes, 4u));
  const uint32_t words = std::max(bytes / 4, 1u);
  uint64_t differs = mask ^ kAllLanes;
  for (uint32_t lane = 0; lane < kLanes; ++lane) differs |= address[lane] ^ (address[0] + uint64_t{lane} * bytes);
  if (differs == 0 && bytes >= 4) {  // a row: no two lanes of a pass share a bank
    site.wavefronts += kLanes / lanesAtOnce;
    site.idealWavefronts += kLanes / lanesAtOnce;
    return;
  }
  for (uint32_t first = 0; first < kLanes; first += lanesAtOnce) {
    const uint32_t part = mask & static_cast<uint32_t>(((1ull << lanesAtOnce) - 1) << first);
    if (part == 0) continue;
    uint32_t word[kLanes][kLanes];  // by bank: distinct words
    uint8_t distinct[kLanes] = {};
    uint32_t passes = 1;
    forEachLane(part, [&](uint32_t lane) {
      for (uint32_t w = 0; w < words; ++w) {
        const auto at = static_cast<uint32_t>(address[lane] / 4) + w;
        const uint32_t bank = at % kLanes;
        uint32_t known = 0;
        while (known < distinct[bank] && word[bank][known] != at) ++known;
        if (known < distinct[bank]) continue;
        word[bank][distinct[bank]++] = at;
        passes = std::max<uint32_t>(passes, distinct[bank]);
      }
    });
    site.wavefronts += passes;
    site.idealWavefronts += 1;
  }
}

void countSectors(Warp& warp, const Instr& instr, uint32_t mask, const uint64_t* address, uint32_t bytes) {
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  uint64_t lastSector = ~0ull, lastAddress = ~0ull;
  uint32_t sectors = 0, distinct = 0;
  bool ascending = true;
  forEachLane(mask, [&](uint32_t lane) {
    const uint64_t at = address[lane];
    ascending &= lastAddress == ~0ull || at >= lastAddress;
    sectors += at / 32 != lastSector;
    distinct += at != lastAddress;
    lastSector = at / 32;
    lastAddress = at;
  });
  if (!ascending) {
    uint64_t sorted[kLanes];
    uint32_t count = 0;
    forEachLane(mask, [&](uint32_t lane) { sorted[count++] = address[lane]; });
    std::sort(sorted, sorted + count);
    sectors = distinct = 0;
    for (uint32_t i = 0; i < count; ++i) {
      sectors += i == 0 || sorted[i] / 32 != sorted[i - 1] / 32;
      distinct += i == 0 || sorted[i] != sorted[i - 1];
    }
  }
  site.sectors += sectors;
  site.usefulBytes += uint64_t{distinct} * bytes;
}

}  // namespace cudasim
