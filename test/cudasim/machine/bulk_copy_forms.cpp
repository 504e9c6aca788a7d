// cp.async.bulk and cp.async.bulk.tensor: copies by one thread between global and shared memory. Loads arrive at an
// mbarrier; stores belong to the thread's bulk groups.
#include <cstring>

#include "machine/block.h"
#include "machine/forms.h"
#include "machine/handlers.h"
#include "machine/memory_forms.h"
#include "machine/tensor_map.h"

namespace cudasim {
namespace {

constexpr uint32_t kMulticast = 1u << 9;  // of the modifier

[[noreturn]] void refuse(uint32_t lane, const std::string& why) {
  throw Fault{FaultKind::IllegalInstruction, why, static_cast<int>(lane)};
}

uint32_t sharedAddress(Warp& warp, const Instr& instr, uint32_t lane, Slot slot, uint32_t alignment, uint32_t bytes) {
  const bool wide = (instr.modifier >> 8 & 1) != 0;
  uint64_t address = wide ? warp.reg<uint64_t>(slot)[lane] : warp.reg<uint32_t>(slot)[lane];
  if (address >= kSharedWindow) address -= kSharedWindow;
  if (address % alignment != 0) misaligned(lane, address, alignment);
  checkShared(warp, lane, address, bytes);
  return static_cast<uint32_t>(address);
}

void count(Warp& warp, const Instr& instr, uint64_t address, uint32_t bytes) {
  if (bytes == 0) return;
  SiteCounters& site = warp.block.worker.sites[instr.pc];
  site.sectors += (address + bytes - 1) / 32 - address / 32 + 1;
  site.usefulBytes += bytes;
}

const TensorMap& mapAt(Warp& warp, const Instr& instr, uint32_t lane, uint64_t address) {
  if (address % 64 != 0) misaligned(lane, address, 64);
  checkGlobal(warp, instr, lane, address, 128, true);
  const auto& map = *reinterpret_cast<const TensorMap*>(address);
  if (map.magic != TensorMap::kMagic) refuse(lane, "no tensor map at " + hex(address));
  return map;
}

/** f(offset in the box, global address or 0, bytes inside): every row of a box. */
template <class F>
void forEachRow(const TensorMap& map, const int32_t* start, F f) {
  const uint32_t rows = map.rows();
  for (uint32_t row = 0; row < rows; ++row) {
    uint64_t address = map.address;
    bool inside = true;
    for (uint32_t d = 1, left = row; d < map.rank; ++d) {
      const int64_t at = start[d] + int64_t{left % map.box[d]} * map.elementStep[d];
      left /= map.box[d];
      inside &= at >= 0 && at < int64_t{map.size[d]};
      address += static_cast<uint64_t>(at) * map.stride[d - 1];
    }
    f(row * map.rowBytes(), inside ? address : 0);
  }
}

/** The part [first, last) of a row of the box that lies inside the tensor. */
std::pair<uint32_t, uint32_t> insideRow(const TensorMap& map, int32_t start) {
  const int64_t size = map.size[0], box = map.box[0];
  const int64_t first = std::min<int64_t>(box, std::max<int64_t>(0, -int64_t{start}));
  const int64_t last = std::max<int64_t>(first, std::min<int64_t>(box, size - start));
  return {static_cast<uint32_t>(first), static_cast<uint32_t>(last)};
}

void fill(const TensorMap& map, uint8_t* to, uint32_t bytes) {
  static constexpr uint8_t kNan[3][8] = {{0xFF, 0x7F}, {0xFF, 0xFF, 0xFF, 0x7F}, {0, 0, 0, 0, 0, 0, 0xF8, 0x7F}};
  std::memset(to, 0, bytes);
  if (map.fillsNan == 0 || map.floatBytes == 0) return;
  const uint8_t* nan = kNan[map.floatBytes / 4];
  for (uint32_t i = 0; i < bytes; ++i) to[i] = nan[i % map.floatBytes];
}

/** The bytes of the box as they will lie from shared address `to` on. */
std::vector<uint8_t> loadBox(Warp& warp, const Instr& instr, uint32_t lane, const TensorMap& map, const int32_t* start,
                             uint32_t to) {
  const auto [first, last] = insideRow(map, start[0]);
  const uint32_t bytes = map.rowBytes(), element = map.elementBytes;
  std::vector<uint8_t> row(bytes), box(map.boxBytes());
  forEachRow(map, start, [&, first = first, last = last](uint32_t offset, uint64_t address) {
    fill(map, row.data(), bytes);
    if (address != 0 && last > first) {
      const uint64_t from = address + static_cast<uint64_t>((int64_t{start[0]} + first) * element);
      const uint32_t wanted = (last - first) * element;
      checkGlobal(warp, instr, lane, from, wanted, true);
      count(warp, instr, from, wanted);
      std::memcpy(row.data() + first * element, reinterpret_cast<const void*>(from), wanted);
    }
    for (uint32_t at = 0; at < bytes; at += 16) {
      std::memcpy(box.data() + (swizzled(to + offset + at, map.swizzleBytes) - to), row.data() + at, 16);
    }
  });
  return box;
}

/** slots: shared address, map, mbarrier, coordinates, with multicast the ranks that get it, one bit each. */
void loadTensor(Warp& warp, const Instr& instr, uint32_t mask) {
  warp.block.checkAgents();
  const uint32_t rank = instr.modifier & 0xFF;
  forEachLane(mask, [&](uint32_t lane) {
    const TensorMap& map = mapAt(warp, instr, lane, warp.reg<uint64_t>(instr.slots[1])[lane]);
    if (map.rank != rank) refuse(lane, "a tensor map of rank " + std::to_string(map.rank) + " in a copy of another");
    int32_t start[5] = {};
    for (uint32_t d = 0; d < rank; ++d) start[d] = warp.reg<int32_t>(instr.slots[3 + d])[lane];
    const uint32_t to = sharedAddress(warp, instr, lane, instr.slots[0], 128, map.boxBytes());
    const uint32_t at = sharedAddress(warp, instr, lane, instr.slots[2], 8, 8), thread = kLanes * warp.index + lane;
    const BulkCopy copy{to, loadBox(warp, instr, lane, map, start, to)};
    if ((instr.modifier & kMulticast) == 0) {
      Mbarriers& all = warp.block.mbarriers;
      return all.addCopy(all.at(at, thread), copy, thread);
    }
    uint32_t ranks = warp.reg<uint16_t>(instr.slots[3 + rank])[lane];
    if (ranks == 0) refuse(lane, "a multicast to no block");
    for (; ranks != 0; ranks &= ranks - 1) {
      Block& block = warp.block.inCluster(static_cast<uint32_t>(__builtin_ctz(ranks)));
      const uint32_t there = &block == &warp.block ? thread : threadAbroad(thread);
      block.mbarriers.addCopy(block.mbarriers.at(at, there), copy, there);
    }
  });
}

void checkSize(uint32_t lane, uint32_t bytes, uint64_t global) {
  if (bytes == 0 || bytes % 16 != 0) refuse(lane, "a bulk copy of " + std::to_string(bytes) + " bytes");
  if (global % 16 != 0) misaligned(lane, global, 16);
}

/** slots: shared address, global address, mbarrier, bytes. */
void load(Warp& warp, const Instr& instr, uint32_t mask) {
  warp.block.checkAgents();
  forEachLane(mask, [&](uint32_t lane) {
    const uint64_t from = warp.reg<uint64_t>(instr.slots[1])[lane];
    const uint32_t bytes = warp.reg<uint32_t>(instr.slots[3])[lane], thread = kLanes * warp.index + lane;
    checkSize(lane, bytes, from);
    checkGlobal(warp, instr, lane, from, bytes, true);
    count(warp, instr, from, bytes);
    const uint32_t to = sharedAddress(warp, instr, lane, instr.slots[0], 16, bytes);
    const uint32_t at = sharedAddress(warp, instr, lane, instr.slots[2], 8, 8);
    const auto* data = reinterpret_cast<const uint8_t*>(from);
    Mbarriers& all = warp.block.mbarriers;
    all.addCopy(all.at(at, thread), {to, {data, data + bytes}}, thread);
  });
}

/** Takes 16 bytes of shared memory for a store of this lane's bulk group. */
void take(Warp& warp, uint32_t lane, uint32_t address, uint8_t* into, uint32_t until) {
  warp.block.shared.readAsync(address, warp.index, kStoreAgents + warp.index, until);
  checkSharedDefined(warp, lane, address, 16);
  std::memcpy(into, warp.block.shared.at(address), 16);
}

uint32_t beginStore(Warp& warp, uint32_t lane) {
  warp.block.checkAgents();
  const uint32_t agent = kStoreAgents + warp.index, until = warp.block.shared.nextClock(agent);
  warp.block.shared.advanceAgent(agent);
  warp.stores.push_back({lane, warp.bulkCommitted[lane], until});
  return until;
}

void write(Warp& warp, const Instr& instr, uint32_t lane, uint64_t to, const uint8_t* from, uint32_t bytes) {
  checkGlobal(warp, instr, lane, to, bytes, false);
  count(warp, instr, to, bytes);
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  const GlobalMemory& memory = warp.block.worker.memory;
  if (!memory.isOwn(to)) return;
  std::memset(memory.defined(to), 1, bytes);
  warp.block.worker.written.emplace_back(to, to + bytes);
}

/** slots: shared address, map, coordinates. */
void storeTensor(Warp& warp, const Instr& instr, uint32_t mask) {
  const uint32_t rank = instr.modifier & 0xFF;
  forEachLane(mask, [&](uint32_t lane) {
    const TensorMap& map = mapAt(warp, instr, lane, warp.reg<uint64_t>(instr.slots[1])[lane]);
    if (map.rank != rank) refuse(lane, "a tensor map of rank " + std::to_string(map.rank) + " in a copy of another");
    int32_t start[5] = {};
    for (uint32_t d = 0; d < rank; ++d) start[d] = warp.reg<int32_t>(instr.slots[2 + d])[lane];
    const uint32_t from = sharedAddress(warp, instr, lane, instr.slots[0], 128, map.boxBytes());
    const uint32_t until = beginStore(warp, lane), bytes = map.rowBytes(), element = map.elementBytes;
    const auto [first, last] = insideRow(map, start[0]);
    std::vector<uint8_t> row(bytes);
    forEachRow(map, start, [&, first = first, last = last](uint32_t offset, uint64_t address) {
      for (uint32_t at = 0; at < bytes; at += 16) {
        take(warp, lane, swizzled(from + offset + at, map.swizzleBytes), row.data() + at, until);
      }
      if (address == 0 || last <= first) return;
      write(warp, instr, lane, address + static_cast<uint64_t>((int64_t{start[0]} + first) * element),
            row.data() + first * element, (last - first) * element);
    });
  });
}

/** slots: shared address, global address, bytes. */
void store(Warp& warp, const Instr& instr, uint32_t mask) {
  forEachLane(mask, [&](uint32_t lane) {
    const uint64_t to = warp.reg<uint64_t>(instr.slots[1])[lane];
    const uint32_t bytes = warp.reg<uint32_t>(instr.slots[2])[lane];
    checkSize(lane, bytes, to);
    const uint32_t from = sharedAddress(warp, instr, lane, instr.slots[0], 16, bytes), until = beginStore(warp, lane);
    std::vector<uint8_t> data(bytes);
    for (uint32_t at = 0; at < bytes; at += 16) take(warp, lane, from + at, data.data() + at, until);
    write(warp, instr, lane, to, data.data(), bytes);
  });
}

void commit(Warp& warp, const Instr&, uint32_t mask) {
  forEachLane(mask, [&](uint32_t lane) { ++warp.bulkCommitted[lane]; });
}

/** The modifier: groups that may be under way. */
void wait(Warp& warp, const Instr& instr, uint32_t mask) {
  forEachLane(mask, [&](uint32_t lane) {
    const uint32_t committed = warp.bulkCommitted[lane];
    const uint32_t below = committed > instr.modifier ? committed - instr.modifier : 0;
    std::erase_if(warp.stores, [&](const BulkStore& store) { return store.lane == lane && store.group < below; });
  });
  const uint32_t agent = kStoreAgents + warp.index;
  uint32_t over = warp.block.shared.nextClock(agent) - 1;
  for (const BulkStore& store : warp.stores) over = std::min(over, store.until - 1);
  warp.block.shared.learn(warp.index, agent, over);
}

/** A shared address that must not have an offset of its own. */
void useShared(Form& form, const Operand& address) {
  useAddress(form, address, "shared");
  if (form.instr.offset != 0) form.unknown("an offset in the shared address");
  if (form.instr.wideAddress) form.instr.modifier |= 1u << 8;
}

void useMap(Form& form, const Operand& operand, uint32_t rank) {
  useAddress(form, operand, "");
  if (form.instr.offset != 0) form.unknown("an offset in the address of a tensor map");
  if (operand.items.size() != 1 || operand.items[0].items.size() != rank) form.unknown("coordinates");
}

void tensorForm(Form& form) {
  uint32_t rank = 0;
  for (uint32_t d = 1; d <= 5; ++d) {
    if (form.has(std::to_string(d) + "d")) rank = d;
  }
  if (rank == 0) form.unknown("rank");
  form.instr.modifier = rank;
  form.has("tile");
  form.has("L2::cache_hint");
  const auto useCoordinates = [&](const Operand& operand) {
    for (const Operand& at : operand.items[0].items) form.use(at, Type::s32);
  };
  if (form.has("bulk_group")) {
    form.ignore({"global", "shared::cta"});
    useShared(form, form.operand(1));
    useMap(form, form.operand(0), rank);
    useCoordinates(form.operand(0));
    return form.finish(storeTensor);
  }
  form.ignore({"shared::cluster", "shared::cta", "global"});
  if (!form.has("mbarrier::complete_tx::bytes")) form.unknown();
  const bool multicast = form.has("multicast::cluster");
  useShared(form, form.operand(0));
  useMap(form, form.operand(1), rank);
  useShared(form, form.operand(2));
  useCoordinates(form.operand(1));
  if (multicast) {
    form.instr.modifier |= kMulticast;
    form.use(form.operand(3), Type::u16);
  }
  form.finish(loadTensor);
}

}  // namespace

/** cp.async.bulk..., "cp" and "async" consumed. */
void bulkCopyForm(Form& form) {
  if (form.has("commit_group")) return form.finish(commit);
  if (form.has("wait_group")) {
    form.has("read");
    form.instr.modifier = static_cast<uint32_t>(form.constant(form.operand(0)));
    return form.finish(wait);
  }
  if (form.has("tensor")) return tensorForm(form);
  form.has("L2::cache_hint");
  const bool stores = form.has("bulk_group");
  form.ignore({"shared::cluster", "shared::cta", "global"});
  if (!stores && !form.has("mbarrier::complete_tx::bytes")) form.unknown();
  const size_t shared = stores ? 1 : 0;
  useShared(form, form.operand(shared));
  useAddress(form, form.operand(1 - shared), "global");
  if (form.instr.offset != 0) form.unknown("an offset in the global address");
  if (!stores) useShared(form, form.operand(3));
  form.use(form.operand(2), Type::u32);
  form.finish(stores ? store : load);
}

}  // namespace cudasim
