// cp.async: the copy starts now and arrives at the wait for its group; until then nobody may read what it writes.
#include <cstring>

#include "machine/forms.h"
#include "machine/handlers.h"
#include "machine/memory_counters.h"
#include "machine/memory_forms.h"

namespace cudasim {
namespace {

/** slots: destination, source, bytes of the source that count. The modifier: bytes written. */
void copy(Warp& warp, const Instr& instr, uint32_t mask) {
  const uint32_t bytes = instr.modifier;
  uint64_t to[kLanes], from[kLanes];
  const uint32_t* wanted = warp.reg<uint32_t>(instr.slots[2]);
  laneAddresses(warp, instr, instr.slots[0], to);
  const uint64_t* source = warp.reg<uint64_t>(instr.slots[1]);
  const auto offset = static_cast<uint64_t>(int64_t{static_cast<int32_t>(instr.target)});
  uint32_t reading = 0;
  forEachLane(mask, [&](uint32_t lane) {
    from[lane] = source[lane] + offset;
    if (to[lane] % bytes != 0) misaligned(lane, to[lane], bytes);
    if (from[lane] % bytes != 0) misaligned(lane, from[lane], bytes);
    checkShared(warp, lane, to[lane], bytes);
    if (wanted[lane] > bytes) {
      throw Fault{FaultKind::IllegalInstruction,
                  "cp.async of " + std::to_string(wanted[lane]) + " source bytes into " + std::to_string(bytes),
                  static_cast<int>(lane)};
    }
    if (wanted[lane] == 0) return;
    checkGlobal(warp, instr, lane, from[lane], wanted[lane], true);
    reading |= 1u << lane;
  });
  if (reading != 0) countSectors(warp, instr, reading, from, bytes);
  forEachLane(mask, [&](uint32_t lane) {
    alignas(16) uint8_t data[16] = {};
    if (wanted[lane] == 16) {
      std::memcpy(data, reinterpret_cast<const void*>(from[lane]), 16);
    } else if (wanted[lane] != 0) {
      std::memcpy(data, reinterpret_cast<const void*>(from[lane]), wanted[lane]);
    }
    warp.block.copyAsync(kLanes * warp.index + lane, warp.committed[lane], static_cast<uint32_t>(to[lane]), data,
                         bytes);
  });
  countWavefronts(warp, instr, mask, to, bytes);
}

void wait(Warp& warp, uint32_t mask, uint32_t pendingGroups, bool uncommittedToo) {
  uint32_t below[kLanes];
  forEachLane(mask, [&](uint32_t lane) {
    const uint32_t committed = warp.committed[lane];
    below[lane] = uncommittedToo ? ~0u : committed > pendingGroups ? committed - pendingGroups : 0;
  });
  warp.block.finishCopies(warp.index, mask, below);
}

void copyForm(Form& form) {
  if (!form.has("async")) form.unknown();
  if (form.has("bulk")) return bulkCopyForm(form);
  if (form.has("commit_group")) {
    return form.finish([](Warp& warp, const Instr&, uint32_t mask) {
      forEachLane(mask, [&](uint32_t lane) { ++warp.committed[lane]; });
    });
  }
  if (form.has("wait_group")) {
    form.instr.modifier = static_cast<uint32_t>(form.constant(form.operand(0)));
    return form.finish([](Warp& warp, const Instr& instr, uint32_t mask) { wait(warp, mask, instr.modifier, false); });
  }
  if (form.has("wait_all")) {
    return form.finish([](Warp& warp, const Instr&, uint32_t mask) { wait(warp, mask, 0, true); });
  }
  form.ignore({"ca", "cg", "L2::64B", "L2::128B", "L2::256B"});
  const bool hinted = form.has("L2::cache_hint");
  if (!form.has("shared")) form.has("shared::cta");
  if (!form.has("global")) form.unknown("source");
  const std::string where = useAddress(form, form.operand(0), "shared");
  if (where != "shared") form.unknown("destination");
  const int64_t toOffset = form.instr.offset;
  const bool wide = form.instr.wideAddress;
  useAddress(form, form.operand(1), "global");
  form.instr.target = static_cast<uint32_t>(form.instr.offset);
  form.instr.offset = toOffset;
  form.instr.wideAddress = wide;
  form.instr.modifier = static_cast<uint32_t>(form.constant(form.operand(2)));
  const bool sized = form.operandCount() > (hinted ? 4u : 3u);
  form.use(form.operand(sized ? 3 : 2), Type::u32);
  form.finish(copy);
}

}  // namespace

void addCopyForms(FormTable& table) { table["cp"] = copyForm; }

}  // namespace cudasim
