// Branches, calls, ends, block barriers, and what does nothing here.
#include <atomic>

#include "machine/block.h"
#include "machine/early_start.h"
#include "machine/forms.h"
#include "machine/handlers.h"
#include "machine/kernel_decoder.h"

namespace cudasim {
namespace {

void jump(Warp& warp, const Instr& instr, uint32_t mask) { warp.jump(mask, instr.target); }

void branch(Form& form) {
  form.has("uni");
  form.decoder.branchTo(form, form.operand(0).name);
  form.flow = Flow::Branch;
  form.finish(jump);
}

void indexedJump(Warp& warp, const Instr& instr, uint32_t mask) {
  const std::vector<uint32_t>& table = warp.block.worker.program.branchTables[instr.modifier];
  const uint32_t* index = warp.reg<uint32_t>(instr.slots[0]);
  for (uint32_t left = mask; left != 0;) {
    const auto first = static_cast<uint32_t>(__builtin_ctz(left));
    const uint32_t entry = index[first];
    if (entry >= table.size()) {
      throw Fault{FaultKind::IllegalInstruction,
                  "branch to entry " + std::to_string(entry) + " of " + std::to_string(table.size()),
                  static_cast<int>(first)};
    }
    uint32_t same = 0;
    forEachLane(left, [&](uint32_t lane) { same |= index[lane] == entry ? 1u << lane : 0; });
    left &= ~same;
    if (left == 0 && same == warp.mask) {
      warp.pc = table[entry];
    } else {
      warp.waiting.push_back({table[entry], same, false});
      warp.mask &= ~same;
    }
  }
  if (warp.mask == 0) warp.reschedule = true;
}

void indexedBranch(Form& form) {
  form.ignore({"idx", "uni"});
  form.use(form.operand(0), Type::u32);
  form.instr.modifier = form.decoder.branchTable(form, form.operand(1).name);
  form.flow = Flow::Table;
  form.finish(indexedJump);
}

void end(Form& form) {
  form.has("uni");
  if (form.opcode() == "ret" && form.decoder.isInlined(form.frame)) {
    form.decoder.branchToEnd(form.frame);
    form.flow = Flow::Branch;
    return form.finish(jump);
  }
  form.flow = Flow::End;
  form.finish([](Warp& warp, const Instr&, uint32_t mask) { warp.exit(mask); });
}

void call(Form& form) {
  form.has("uni");
  form.decoder.call(form);
}

void trap(Form& form) {
  form.finish([](Warp&, const Instr&, uint32_t mask) { throw Fault{FaultKind::Assert, "trap", __builtin_ctz(mask)}; });
}

void nothing(Form& form) {
  while (!form.next().empty()) {
  }
  form.finish([](Warp&, const Instr&, uint32_t) {});
}

/** The whole warp must be here: bar.sync in code that only some lanes reach is undefined. */
bool converged(Warp& warp, const Instr& instr, uint32_t mask) {
  if (mask == warp.live) return true;
  if (mask != warp.mask) {
    throw Fault{FaultKind::Synchronisation, "barrier behind a predicate that not all lanes fulfil",
                __builtin_ctz(mask)};
  }
  warp.waitForLanes(instr);
  return false;
}

/** slots: result, input predicate, barrier, threads (0: all). */
template <bool Waits, Reduction R>
void barrier(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!converged(warp, instr, mask)) return;
  const auto lane = static_cast<uint32_t>(__builtin_ctz(mask));
  const uint32_t id = warp.reg<uint32_t>(instr.slots[2])[lane], count = warp.reg<uint32_t>(instr.slots[3])[lane];
  warp.block.arrive(warp, instr, mask, id, count, Waits, R);
}

void clusterBarrier(Form& form) {
  form.ignore({"aligned", "acquire", "release", "relaxed"});
  if (form.has("arrive")) {
    return form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
      if (converged(warp, instr, mask)) warp.block.arriveCluster(warp);
    });
  }
  if (!form.has("wait")) form.unknown();
  form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
    if (converged(warp, instr, mask) && !warp.block.waitCluster(warp)) warp.retryLater(instr);
  });
}

/** fence.proxy.async and fence.mbarrier_init; the others, and membar, order what other blocks see, but for those of the
 * block alone. */
void fence(Form& form) {
  const bool proxy = form.has("proxy") && form.has("async");
  const bool barriers = form.has("mbarrier_init"), ofBlock = form.has("cta");
  while (!form.next().empty()) {
  }
  if (proxy) {
    return form.finish([](Warp& warp, const Instr&, uint32_t mask) {
      warp.block.mbarriers.publish(warp.index);
      warp.block.shared.proxyFence(warp.index, mask == warp.live);
    });
  }
  if (barriers) {
    return form.finish([](Warp& warp, const Instr&, uint32_t) { warp.block.mbarriers.publish(warp.index); });
  }
  if (ofBlock) return form.finish([](Warp&, const Instr&, uint32_t) {});
  form.finish([](Warp& warp, const Instr&, uint32_t) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    fenceGlobal(warp);
  });
}

void setRegisters(Form& form) {
  const bool takes = form.has("inc");
  form.ignore({"dec", "sync", "aligned", "u32"});
  const uint64_t count = form.constant(form.operand(0));
  if (count < 24 || count > 256 || count % 8 != 0) form.unknown("a multiple of 8 from 24 to 256");
  form.instr.modifier = static_cast<uint32_t>(count) | (takes ? 1u << 31 : 0);
  form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
    const bool inc = instr.modifier >> 31 != 0;
    if (!converged(warp, instr, mask)) return;
    if (!warp.block.setRegisters(warp, instr.modifier & 0x7FFFFFFF, inc)) warp.retryLater(instr);
  });
}

void launchBefore(Form& form) {
  if (form.has("wait")) {
    return form.finish([](Warp& warp, const Instr&, uint32_t mask) { waitForLaunchBefore(warp, mask); });
  }
  if (!form.has("launch_dependents")) form.unknown();
  form.finish([](Warp& warp, const Instr&, uint32_t mask) { letNextLaunchCome(warp, mask); });
}

void blockBarrier(Form& form) {
  if (form.has("cluster")) return clusterBarrier(form);
  form.ignore({"cta", "aligned"});
  if (form.has("warp")) {
    form.has("sync");
    form.use(form.operand(0), Type::u32);
    return form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
      const uint32_t* members = warp.reg<uint32_t>(instr.slots[0]);
      if (!warp.gathered(instr, mask, members[__builtin_ctz(mask)])) return;
      warp.block.shared.syncWarp(warp.index);
    });
  }
  Operand none;
  none.kind = Operand::Kind::Integer;
  Operand sink;
  sink.name = "_";
  const auto operands = [&](size_t from) {
    form.use(form.operand(from), Type::u32);
    form.use(form.operandCount() > from + 1 ? form.operand(from + 1) : none, Type::u32);
  };
  if (form.has("red")) {
    const std::string reduction = form.next();
    const Type type = form.type();
    form.define(form.operand(0), type);
    const Operand& input = form.operands().back();
    if (form.usePredicate(input)) form.unknown("negated input");
    form.use(form.operand(1), Type::u32);
    form.use(form.operandCount() > 3 ? form.operand(2) : none, Type::u32);
    if (reduction == "popc") return form.finish(barrier<true, Reduction::Count>);
    if (reduction == "and") return form.finish(barrier<true, Reduction::And>);
    if (reduction == "or") return form.finish(barrier<true, Reduction::Or>);
    form.unknown("reduction " + reduction);
  }
  form.define(sink, Type::u32);
  form.usePredicateConstant(true);
  operands(0);
  if (form.has("arrive")) return form.finish(barrier<false, Reduction::None>);
  if (form.has("sync")) return form.finish(barrier<true, Reduction::None>);
  form.unknown();
}

}  // namespace

void addControlForms(FormTable& table) {
  table["bra"] = branch;
  table["brx"] = indexedBranch;
  table["ret"] = end;
  table["exit"] = end;
  table["call"] = call;
  table["trap"] = trap;
  table["bar"] = blockBarrier;
  table["barrier"] = blockBarrier;
  table["fence"] = fence;
  table["membar"] = fence;
  table["setmaxnreg"] = setRegisters;
  table["griddepcontrol"] = launchBefore;
  for (const char* idle : {"nanosleep", "prefetch", "prefetchu", "discard", "brkpt", "pmevent"}) {
    table[idle] = nothing;
  }
}

}  // namespace cudasim
