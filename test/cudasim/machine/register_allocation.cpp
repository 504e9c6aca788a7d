#include "machine/register_allocation.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <queue>

namespace cudasim {
namespace {

uint32_t bytesOf(const VirtualRegister& reg) { return reg.type == Type::pred ? 4 : kLanes * ptx::sizeOf(reg.type); }

bool test(const std::vector<uint64_t>& bits, uint32_t i) { return (bits[i / 64] >> (i % 64) & 1) != 0; }
void set(std::vector<uint64_t>& bits, uint32_t i) { bits[i / 64] |= 1ull << (i % 64); }

}  // namespace

RegisterAllocation::RegisterAllocation(const std::vector<VirtualRegister>& registers, const std::vector<Draft>& drafts,
                                       const std::vector<std::vector<uint32_t>>& branchTables)
    : registers_(registers),
      drafts_(drafts),
      branchTables_(branchTables),
      ranges_(registers.size()),
      tracked_(registers.size()),
      slots_(registers.size(), kNoSlot),
      masks_(registers.size(), kNoSlot),
      inProducts_(registers.size()),
      words_(registers.size(), kNoSlot) {
  findBlocks();
  findLiveness();
  findRanges();
  spreadTracking();
  assignSlots();
}

void RegisterAllocation::successorsOf(uint32_t at, std::vector<uint32_t>& out) const {
  const Draft& draft = drafts_[at];
  if (draft.flow == Flow::Branch) out.push_back(draft.instr.target);
  if (draft.flow == Flow::Table) {
    const auto& table = branchTables_[draft.instr.modifier];
    out.insert(out.end(), table.begin(), table.end());
  }
  const bool fallsThrough = draft.flow == Flow::Next || draft.guard != kNoSlot;
  if (fallsThrough && at + 1 < drafts_.size()) out.push_back(at + 1);
}

void RegisterAllocation::findBlocks() {
  std::vector<bool> leads(drafts_.size() + 1);
  leads[0] = true;
  for (uint32_t at = 0; at < drafts_.size(); ++at) {
    if (drafts_[at].flow == Flow::Next) continue;
    leads[at + 1] = true;
    std::vector<uint32_t> targets;
    successorsOf(at, targets);
    for (const uint32_t target : targets) leads[target] = true;
  }
  for (uint32_t at = 0; at < drafts_.size(); ++at) {
    if (leads[at]) blocks_.push_back({at, at, {}, {}, {}, {}});
    blocks_.back().end = at + 1;
  }
}

void RegisterAllocation::findLiveness() {
  const size_t words = registers_.size() / 64 + 1;
  std::map<uint32_t, uint32_t> blockAt;
  for (uint32_t b = 0; b < blocks_.size(); ++b) blockAt[blocks_[b].begin] = b;
  for (BasicBlock& block : blocks_) {
    block.used.resize(words);
    block.defined.resize(words);
    for (uint32_t at = block.begin; at < block.end; ++at) {
      const Draft& draft = drafts_[at];
      const auto use = [&](RegisterId id) {
        if (!test(block.defined, id)) set(block.used, id);
      };
      if (draft.guard != kNoSlot) use(draft.guard);
      for (const Reference& reference : draft.references) {
        if (reference.isUse) use(reference.id);
      }
      for (const Reference& reference : draft.references) {
        // behind a predicate some lanes keep what they had
        if (reference.isDefinition && draft.guard == kNoSlot) set(block.defined, reference.id);
      }
    }
    block.liveIn = block.used;
    std::vector<uint32_t> successors;
    successorsOf(block.end - 1, successors);
    for (const uint32_t successor : successors) block.successors.push_back(blockAt.at(successor));
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t b = blocks_.size(); b-- > 0;) {
      BasicBlock& block = blocks_[b];
      for (size_t word = 0; word < words; ++word) {
        uint64_t out = 0;
        for (const uint32_t successor : block.successors) out |= blocks_[successor].liveIn[word];
        const uint64_t in = block.used[word] | (out & ~block.defined[word]);
        changed |= in != block.liveIn[word];
        block.liveIn[word] = in;
      }
    }
  }
}

void RegisterAllocation::findRanges() {
  for (const BasicBlock& block : blocks_) {
    for (RegisterId id = 0; id < registers_.size(); ++id) {
      if (test(block.liveIn, id)) ranges_[id].cover(block.begin);
      for (const uint32_t successor : block.successors) {
        if (test(blocks_[successor].liveIn, id)) ranges_[id].cover(block.end - 1);
      }
    }
  }
  for (uint32_t at = 0; at < drafts_.size(); ++at) {
    if (drafts_[at].guard != kNoSlot) ranges_[drafts_[at].guard].cover(at);
    for (const Reference& reference : drafts_[at].references) ranges_[reference.id].cover(at);
  }
}

void RegisterAllocation::spreadTracking() {
  for (RegisterId id = 0; id < registers_.size(); ++id) {
    tracked_[id] = !registers_[id].fixed && !blocks_.empty() && test(blocks_[0].liveIn, id);
  }
  for (const Draft& draft : drafts_) {
    for (uint32_t i = 0; i < draft.products; ++i) inProducts_[draft.references[i].id] = true;
  }
  spread(tracked_);
  spread(inProducts_);
}

/** What holds of a register may hold of its copies too. */
void RegisterAllocation::spread(std::vector<bool>& marked) const {
  for (bool changed = true; changed;) {
    changed = false;
    for (const Draft& draft : drafts_) {
      if (!draft.copies) continue;
      const bool holds = std::any_of(draft.references.begin(), draft.references.end(),
                                     [&](const Reference& r) { return r.isUse && marked[r.id]; });
      for (const Reference& reference : draft.references) {
        if (!holds || !reference.isDefinition || marked[reference.id]) continue;
        marked[reference.id] = changed = true;
      }
    }
  }
}

Slot RegisterAllocation::take(uint32_t bytes) {
  const uint32_t align = std::min(bytes, 64u);
  end_ = (end_ + align - 1) / align * align;
  const Slot slot = end_;
  end_ += bytes;
  return slot;
}

void RegisterAllocation::assignSlots() {
  for (RegisterId id = 0; id < registers_.size(); ++id) {
    if (registers_[id].fixed && registers_[id].special.empty()) slots_[id] = take(bytesOf(registers_[id]));
  }
  constantsEnd_ = end_;
  for (RegisterId id = 0; id < registers_.size(); ++id) {
    if (inProducts_[id]) words_[id] = take(16);
  }
  std::vector<RegisterId> order;
  for (RegisterId id = 0; id < registers_.size(); ++id) {
    if (registers_[id].fixed) {
      if (!registers_[id].special.empty()) slots_[id] = take(bytesOf(registers_[id]));
    } else if (tracked_[id]) {
      slots_[id] = take(bytesOf(registers_[id]));
      masks_[id] = take(4);
    } else if (ranges_[id].first != ~0u) {
      order.push_back(id);
    }
  }
  std::sort(order.begin(), order.end(),
            [&](RegisterId a, RegisterId b) { return ranges_[a].first < ranges_[b].first; });
  using Ending = std::pair<uint32_t, RegisterId>;
  std::priority_queue<Ending, std::vector<Ending>, std::greater<>> alive;
  std::map<uint32_t, std::vector<Slot>> free;  // by size
  uint32_t aliveBytes = 0, most = 0;
  for (const RegisterId id : order) {
    while (!alive.empty() && alive.top().first < ranges_[id].first) {
      const RegisterId over = alive.top().second;
      alive.pop();
      free[bytesOf(registers_[over])].push_back(slots_[over]);
      aliveBytes -= bytesOf(registers_[over]);
    }
    const uint32_t bytes = bytesOf(registers_[id]);
    std::vector<Slot>& reusable = free[bytes];
    if (reusable.empty()) {
      slots_[id] = take(bytes);
    } else {
      slots_[id] = reusable.back();
      reusable.pop_back();
    }
    alive.push({ranges_[id].last, id});
    most = std::max(most, aliveBytes += bytes);
  }
  mostAlive_ = most / (4 * kLanes) + 1;
}

void RegisterAllocation::apply(Program& program) {
  program.registerBytes = end_;
  program.registersUsed = std::clamp(mostAlive_, 16u, 255u);
  program.constants.resize(constantsEnd_);
  for (RegisterId id = 0; id < registers_.size(); ++id) {
    const VirtualRegister& reg = registers_[id];
    if (masks_[id] != kNoSlot) program.undefinedMasks.push_back(masks_[id]);
    if (words_[id] != kNoSlot) program.productWords.push_back(words_[id]);
    if (!reg.fixed) continue;
    if (!reg.special.empty()) {
      program.specials.push_back({slots_[id], reg.special});
      continue;
    }
    const uint32_t size = reg.type == Type::pred ? 4 : ptx::sizeOf(reg.type);
    for (uint32_t at = 0; at < bytesOf(reg); at += size) {
      std::memcpy(program.constants.data() + slots_[id] + at, &reg.bits, std::min(size, 8u));
    }
  }
  const bool anyTracked = !program.undefinedMasks.empty() || !program.productWords.empty();
  program.operands.resize(drafts_.size());
  if (anyTracked) program.tracking.resize(drafts_.size());
  for (size_t at = 0; at < drafts_.size(); ++at) {
    const Draft& draft = drafts_[at];
    Instr& instr = program.code.emplace_back(draft.instr);
    if (draft.guard != kNoSlot) instr.guard = slots_[draft.guard];
    for (const Reference& reference : draft.references) program.operands[at].push_back(slots_[reference.id]);
    for (uint32_t i = 0; i < draft.products; ++i) program.operands[at].push_back(words_[draft.references[i].id]);
    instr.slots = program.operands[at].data();
    if (!anyTracked) continue;
    Tracking& tracking = program.tracking[at];
    tracking.copies = draft.copies;
    if (draft.guard != kNoSlot) tracking.guardMask = masks_[draft.guard];
    instr.tracked = tracking.guardMask != kNoSlot;
    noteProducts(draft, instr, tracking);
    for (const Reference& reference : draft.references) {
      if (masks_[reference.id] == kNoSlot) continue;
      instr.tracked = true;
      const bool isSum = reference.isDefinition && draft.products != 0;  // wgmma itself knows whether it reads it
      if (reference.isUse && !isSum) tracking.reads.push_back(masks_[reference.id]);
      if (reference.isDefinition) tracking.writes.push_back(masks_[reference.id]);
    }
  }
}

/** wgmma looks after the registers of its products itself. */
void RegisterAllocation::noteProducts(const Draft& draft, Instr& instr, Tracking& tracking) const {
  for (size_t i = draft.products; i < draft.references.size(); ++i) {
    const Reference& reference = draft.references[i];
    const Slot word = words_[reference.id];
    if (word == kNoSlot) continue;
    instr.tracked = true;
    if (reference.isUse) tracking.productReads.push_back(word);
    if (reference.isDefinition) tracking.productWrites.push_back(word);
  }
}

}  // namespace cudasim
