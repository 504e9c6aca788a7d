#include "machine/warp.h"

#include <algorithm>

#include "machine/block.h"

namespace cudasim {
namespace {

/** So many instructions a group may run while another could: a loop that waits for other lanes must let them go on. */
constexpr uint32_t kPatience = 20000;

}  // namespace

Warp::Warp(Block& b, uint32_t i, uint8_t* registers) : block(b), index(i), registers_(registers) {}

void Warp::start(uint32_t lanes) {
  pc = 0;
  mask = live = started = lanes;
  state = WarpState::Ready;
  reschedule = false;
  waiting.clear();
  committed.assign(kLanes, 0);
  bulkCommitted.assign(kLanes, 0);
  stores.clear();
  clusterPhase = fences = 0;
  products = 0;
  uncommitted = false;
  waited = block.worker.launch.before == nullptr ? kAllLanes : 0;
  order = {};
  sinceSwitch_ = 0;
}

void Warp::run(Worker& worker, uint32_t turn) {
  const Instr* code = worker.program.code.data();
  SiteCounters* sites = worker.sites.data();
  yielded = false;
  while (turn-- != 0 && state == WarpState::Ready && !yielded) {
    if (__builtin_expect(!waiting.empty(), 0)) mergeArrivals();
    const Instr& instr = code[pc++];
    uint32_t active = mask;
    if (instr.guard != kNoSlot) {
      if (__builtin_expect(instr.tracked, 0)) checkDefined(worker, instr, active);
      active &= instr.guardNegated ? ~predicate(instr.guard) : predicate(instr.guard);
      if (active == 0) continue;
    } else if (__builtin_expect(instr.tracked, 0)) {
      checkDefined(worker, instr, active);
    }
    ++sites[instr.pc].executed;
    ++progress;
    instr.run(*this, instr, active);
    if (__builtin_expect(reschedule, 0)) switchGroup();
  }
}

void Warp::checkDefined(Worker& worker, const Instr& instr, uint32_t active) {
  const Tracking& tracking = worker.program.tracking[instr.pc];
  if (instr.guard != kNoSlot && tracking.guardMask != kNoSlot) {
    if (const uint32_t lacking = predicate(tracking.guardMask) & active; lacking != 0) {
      throw Fault{FaultKind::Undefined, "predicate never written", __builtin_ctz(lacking)};
    }
  }
  if (instr.guard != kNoSlot) active &= instr.guardNegated ? ~predicate(instr.guard) : predicate(instr.guard);
  uint32_t lacking = 0;
  for (const Slot slot : tracking.reads) lacking |= predicate(slot) & active;
  if (lacking != 0 && !tracking.copies) {
    throw Fault{FaultKind::Undefined, "register read that was never written", __builtin_ctz(lacking)};
  }
  for (const Slot slot : tracking.writes) assignPredicate(*this, slot, active, lacking);
  if (active != 0) checkProducts(tracking, active);
}

/** A copy of a sum under way is no use of it: ptxas makes one register of the two. */
void Warp::checkProducts(const Tracking& tracking, uint32_t active) {
  const auto underWay = [&](const ProductWord& word) {
    return !block.shared.knows(index, kProductAgents + index, word.until);
  };
  ProductWord passed{0, 0, fences + 1};
  for (const Slot slot : tracking.productReads) {
    const ProductWord& word = *reg<ProductWord>(slot);
    if (tracking.copies) passed = word;
    if (tracking.copies || word.isSum == 0 || !underWay(word)) continue;
    throw Fault{FaultKind::Synchronisation, "a sum of wgmma is read before wgmma.wait_group", __builtin_ctz(active)};
  }
  for (const Slot slot : tracking.productWrites) {
    ProductWord& word = *reg<ProductWord>(slot);
    if (underWay(word)) {
      throw Fault{FaultKind::Synchronisation, "a register of a wgmma is written before wgmma.wait_group",
                  __builtin_ctz(active)};
    }
    word = passed;
  }
}

void Warp::mergeArrivals() {
  ++sinceSwitch_;
  const bool impatient = sinceSwitch_ > kPatience;
  size_t next = waiting.size();
  for (size_t i = 0; i < waiting.size();) {
    if (waiting[i].pc == pc) {
      mask |= waiting[i].mask;
      waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(i));
      next = waiting.size();
      i = 0;
      continue;
    }
    if (!waiting[i].blocked && (next == waiting.size() || waiting[i].pc < waiting[next].pc)) next = i;
    ++i;
  }
  if (next == waiting.size() || (waiting[next].pc > pc && !impatient)) return;
  if (holds_ != 0 && !impatient) {
    --holds_;
    return;
  }
  std::swap(waiting[next].pc, pc);
  std::swap(waiting[next].mask, mask);
  holds_ = impatient ? kPatience : 0;
  sinceSwitch_ = 0;
  mergeArrivals();
}

void Warp::switchGroup() {
  reschedule = false;
  sinceSwitch_ = 0;
  if (mask != 0 || state != WarpState::Ready) return;
  size_t next = waiting.size();
  for (size_t i = 0; i < waiting.size(); ++i) {
    if (!waiting[i].blocked && (next == waiting.size() || waiting[i].pc < waiting[next].pc)) next = i;
  }
  if (next != waiting.size()) {
    pc = waiting[next].pc;
    mask = waiting[next].mask;
    waiting.erase(waiting.begin() + static_cast<ptrdiff_t>(next));
    return;
  }
  if (waiting.empty()) {
    state = WarpState::Done;
    block.warpEnded(*this);
    return;
  }
  const Group& stuck = waiting.front();
  std::string text =
      "a warp-wide operation or barrier that not all of its lanes reach: lanes " + hex(stuck.mask) + " wait here";
  for (size_t i = 1; i < waiting.size(); ++i) {
    text += ", lanes " + hex(waiting[i].mask) + " at " + block.worker.program.describe(waiting[i].pc);
  }
  if (const uint32_t ended = started & ~live; ended != 0) text += ", lanes " + hex(ended) + " have ended";
  throw Fault{FaultKind::Synchronisation, text, __builtin_ctz(stuck.mask), static_cast<int>(stuck.pc)};
}

void Warp::jump(uint32_t taken, uint32_t target) {
  if (taken == mask) {
    pc = target;
    return;
  }
  waiting.push_back({pc, mask & ~taken, false});
  pc = target;
  mask = taken;
}

void Warp::exit(uint32_t ended) {
  live &= ~ended;
  mask &= ~ended;
  if (mask == 0) reschedule = true;
}

void Warp::waitForLanes(const Instr& instr) {
  waiting.push_back({instr.pc, mask, true});
  mask = 0;
  reschedule = true;
  --progress;
}

void Warp::retryLater(const Instr& instr) {
  pc = instr.pc;
  yielded = true;
  --progress;
  for (Group& group : waiting) {  // lanes elsewhere may go on meanwhile
    if (group.blocked) continue;
    std::swap(group.pc, pc);
    std::swap(group.mask, mask);
    holds_ = kPatience;
    return;
  }
}

bool Warp::gathered(const Instr& instr, uint32_t active, uint32_t members) {
  const uint32_t missing = members & started & ~active;
  if (missing == 0) return true;
  if ((missing & (mask | ~live)) != 0) {
    const bool ended = (missing & ~live) != 0;
    throw Fault{FaultKind::Synchronisation,
                "the member mask " + hex(members) + " names lanes " + hex(missing) +
                    (ended ? " that have ended" : " that do not take part"),
                __builtin_ctz(active)};
  }
  waitForLanes(instr);
  return false;
}

}  // namespace cudasim
