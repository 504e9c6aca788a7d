// mbarrier.* on barriers of the block itself; arrivals and expected bytes also of another block of the cluster.
#include "machine/block.h"
#include "machine/forms.h"
#include "machine/handlers.h"
#include "machine/memory_forms.h"

namespace cudasim {
namespace {

// slots: address, then what the operation has. The modifier: 1 for a generic address.

uint64_t rawAddress(Warp& warp, const Instr& instr, uint32_t lane, Slot slot) {
  const uint64_t address = instr.wideAddress ? warp.reg<uint64_t>(slot)[lane] + static_cast<uint64_t>(instr.offset)
                                             : warp.reg<uint32_t>(slot)[lane] + static_cast<uint32_t>(instr.offset);
  return (instr.modifier & 1) != 0 ? address - kSharedWindow : address;
}

uint64_t checkedAddress(Warp& warp, uint32_t lane, uint64_t address) {
  if (address % 8 != 0) misaligned(lane, address, 8);
  checkShared(warp, lane, address, 8);
  return address;
}

uint64_t laneAddress(Warp& warp, const Instr& instr, uint32_t lane, Slot slot) {
  return checkedAddress(warp, lane, rawAddress(warp, instr, lane, slot));
}

/** f(barriers of a block, the barrier, lane, its thread as that block counts it). */
template <class F>
void forEachBarrier(Warp& warp, const Instr& instr, uint32_t mask, F f) {
  forEachLane(mask, [&](uint32_t lane) {
    const uint64_t address = rawAddress(warp, instr, lane, instr.slots[0]);
    const auto rank = static_cast<uint32_t>(address >> kRankShift);
    const uint32_t own = kLanes * warp.index + lane;
    if (rank == 0 || rank > warp.block.cluster.blocks.size()) {
      Mbarriers& all = warp.block.mbarriers;
      return f(all, all.at(checkedAddress(warp, lane, address), own), lane, own);
    }
    Block& block = warp.block.inCluster(rank - 1);
    const uint32_t thread = &block == &warp.block ? own : threadAbroad(own);
    const uint64_t inside = checkedAddress(warp, lane, address & ((1u << kRankShift) - 1));
    f(block.mbarriers, block.mbarriers.at(inside, thread), lane, thread);
  });
}

void initialise(Warp& warp, const Instr& instr, uint32_t mask) {
  forEachLane(mask, [&](uint32_t lane) {
    warp.block.checkAgents();
    const auto address = static_cast<uint32_t>(laneAddress(warp, instr, lane, instr.slots[0]));
    warp.block.mbarriers.initialise(address, warp.reg<uint32_t>(instr.slots[1])[lane], kLanes * warp.index + lane);
  });
}

void invalidate(Warp& warp, const Instr& instr, uint32_t mask) {
  forEachLane(mask, [&](uint32_t lane) {
    const auto address = static_cast<uint32_t>(laneAddress(warp, instr, lane, instr.slots[0]));
    warp.block.mbarriers.invalidate(address, kLanes * warp.index + lane);
  });
}

constexpr uint32_t kExpects = 2, kDrops = 4;  // bits of the modifier

/** slots: address, state, count or bytes. */
void arrive(Warp& warp, const Instr& instr, uint32_t mask) {
  forEachBarrier(warp, instr, mask, [&](Mbarriers& all, Mbarrier& barrier, uint32_t lane, uint32_t thread) {
    const uint32_t number = warp.reg<uint32_t>(instr.slots[2])[lane];
    const bool expects = (instr.modifier & kExpects) != 0;
    if (expects) all.expect(barrier, number);
    warp.reg<uint64_t>(instr.slots[1])[lane] =
        all.arrive(barrier, expects ? 1 : number, thread, (instr.modifier & kDrops) != 0);
  });
}

template <bool Expects>
void transaction(Warp& warp, const Instr& instr, uint32_t mask) {
  forEachBarrier(warp, instr, mask, [&](Mbarriers& all, Mbarrier& barrier, uint32_t lane, uint32_t) {
    const uint32_t bytes = warp.reg<uint32_t>(instr.slots[1])[lane];
    Expects ? all.expect(barrier, bytes) : all.complete(barrier, bytes);
  });
}

/** slots: address, result, parity or state. try_wait sleeps until it is true, test_wait tells and lets others go on. */
template <bool Parity, bool Sleeps>
void wait(Warp& warp, const Instr& instr, uint32_t mask) {
  uint32_t over = 0;
  forEachBarrier(warp, instr, mask, [&](Mbarriers& all, Mbarrier& barrier, uint32_t lane, uint32_t thread) {
    if (isAbroad(thread)) {
      throw Fault{FaultKind::IllegalInstruction, "a wait at an mbarrier of another block", static_cast<int>(lane)};
    }
    uint64_t phase;
    if constexpr (Parity) {  // of the phase under way, or else of one that is over
      const uint32_t parity = warp.reg<uint32_t>(instr.slots[2])[lane];
      if (parity > 1) throw Fault{FaultKind::IllegalInstruction, "a parity of " + std::to_string(parity)};
      if (barrier.phase % 2 != parity && barrier.phase == 0) {  // the phase before the first: over
        over |= 1u << lane;
        return;
      }
      phase = barrier.phase % 2 == parity ? barrier.phase : barrier.phase - 1;
    } else {
      phase = warp.reg<uint64_t>(instr.slots[2])[lane];
    }
    if (all.wait(barrier, phase, warp.index)) over |= 1u << lane;
  });
  if (over != mask) {
    if (Sleeps) return warp.retryLater(instr);
    warp.yielded = true;
  }
  assignPredicate(warp, instr.slots[1], mask, over);
}

void waitForm(Form& form, bool sleeps) {
  const bool parity = form.has("parity");
  form.define(form.operand(0), Type::pred);
  form.use(form.operand(2), parity ? Type::u32 : Type::u64);
  if (sleeps) return form.finish(parity ? wait<true, true> : wait<false, true>);
  form.finish(parity ? wait<true, false> : wait<false, false>);
}

void barrierForm(Form& form) {
  const std::string operation = form.next();
  const bool expects = form.has("expect_tx") || operation == "expect_tx";
  if (form.has("noComplete")) form.unknown();
  form.ignore({"release", "acquire", "relaxed", "cta", "cluster"});
  std::string space = readSpace(form);
  if (space.empty() && form.has("shared::cluster")) space = "shared";
  form.type();
  const bool hasResult =
      operation == "arrive" || operation == "arrive_drop" || operation == "test_wait" || operation == "try_wait";
  const std::string where = useAddress(form, form.operand(hasResult ? 1 : 0), space);
  form.instr.modifier = spaceNamed(form, where) == Space::Generic ? 1 : 0;
  if (operation == "init") {
    form.use(form.operand(1), Type::u32);
    return form.finish(initialise);
  }
  if (operation == "inval") return form.finish(invalidate);
  if (operation == "expect_tx" || operation == "complete_tx") {
    form.use(form.operand(1), Type::u32);
    return form.finish(expects ? transaction<true> : transaction<false>);
  }
  if (operation == "arrive" || operation == "arrive_drop") {
    form.instr.modifier |= (expects ? kExpects : 0) | (operation == "arrive_drop" ? kDrops : 0);
    form.define(form.operand(0), Type::b64);
    Operand one;
    one.kind = Operand::Kind::Integer;
    one.bits = 1;
    form.use(form.operandCount() > 2 ? form.operand(2) : one, Type::u32);
    return form.finish(arrive);
  }
  if (operation == "test_wait" || operation == "try_wait") return waitForm(form, operation == "try_wait");
  form.unknown();
}

/** mapa: the address of a variable in another block of the cluster. slots: result, source, rank */
void mapAddress(Form& form) {
  form.has("shared::cluster");
  const Type type = form.type();
  form.define(form.operand(0), type);
  form.use(form.operand(1), type);
  form.use(form.operand(2), Type::u32);
  form.finish(forBits(form, type, [](auto zero) -> Handler {
    using T = decltype(zero);
    return [](Warp& warp, const Instr& instr, uint32_t mask) {
      const uint32_t* rank = warp.reg<uint32_t>(instr.slots[2]);
      forEachLane(mask, [&](uint32_t lane) { warp.block.inCluster(rank[lane]); });
      const T* from = warp.reg<T>(instr.slots[1]);
      const uint32_t own = warp.block.rank;
      assign<T>(warp, instr.slots[0], mask, [=](uint32_t i) {
        return rank[i] == own ? from[i] : static_cast<T>(from[i] + (uint64_t{rank[i] + 1} << kRankShift));
      });
    };
  }));
}

}  // namespace

void addMbarrierForms(FormTable& table) {
  table["mbarrier"] = barrierForm;
  table["mapa"] = mapAddress;
}

}  // namespace cudasim
