// What lanes of a warp do together: shfl, vote, match, redux, activemask, elect.
#include <algorithm>
#include <bit>

#include "machine/block.h"
#include "machine/forms.h"
#include "machine/handlers.h"

namespace cudasim {
namespace {

/** True when all lanes named by the member masks of the active lanes are here. Otherwise the group waits or fails. */
bool membersHere(Warp& warp, const Instr& instr, uint32_t mask, Slot slot) {
  const uint32_t* members = warp.reg<uint32_t>(slot);
  uint32_t named = mask;
  for (uint32_t lane = 0; lane < kLanes; ++lane) named &= members[lane];
  if (named == kAllLanes) return true;
  bool here = true;
  uint32_t seen = members[__builtin_ctz(mask)];
  forEachLane(mask, [&](uint32_t lane) {
    if ((members[lane] >> lane & 1) == 0) {
      throw Fault{FaultKind::Synchronisation, "the lane is not in its own member mask " + hex(members[lane]),
                  static_cast<int>(lane)};
    }
    if (here && (lane == static_cast<uint32_t>(__builtin_ctz(mask)) || members[lane] != seen)) {
      seen = members[lane];
      here = warp.gathered(instr, mask, members[lane]);
    }
  });
  return here;
}

enum class Shuffle { Up, Down, Butterfly, Index };

/** slots: result, in range, source, lane, clamp and segment, members. */
template <Shuffle Kind>
void shuffle(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!membersHere(warp, instr, mask, instr.slots[5])) return;
  const uint32_t *source = warp.reg<uint32_t>(instr.slots[2]), *by = warp.reg<uint32_t>(instr.slots[3]);
  const uint32_t* limits = warp.reg<uint32_t>(instr.slots[4]);
  alignas(64) uint32_t origin[kLanes], good[kLanes], result[kLanes];
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const uint32_t segment = limits[lane] >> 8 & 31, clamp = limits[lane] & 31, step = by[lane] & 31;
    const uint32_t most = (lane & segment) | (clamp & ~segment), least = lane & segment;
    const uint32_t from = Kind == Shuffle::Up          ? lane - step
                          : Kind == Shuffle::Down      ? lane + step
                          : Kind == Shuffle::Butterfly ? lane ^ step
                                                       : least | (step & ~segment);
    const auto signedFrom = static_cast<int32_t>(from), signedMost = static_cast<int32_t>(most);
    good[lane] = Kind == Shuffle::Up ? signedFrom >= signedMost : signedFrom <= signedMost;
    origin[lane] = good[lane] != 0 ? from : lane;
  }
  if (mask != kAllLanes) {
    forEachLane(mask, [&](uint32_t lane) {
      const uint32_t from = origin[lane];
      if ((mask >> from & 1) != 0 || (warp.started >> from & 1) == 0) return;
      throw Fault{FaultKind::Synchronisation, "shfl reads lane " + std::to_string(from) + ", which does not take part",
                  static_cast<int>(lane)};
    });
  }
  for (uint32_t lane = 0; lane < kLanes; ++lane) result[lane] = source[origin[lane]];
  const uint32_t inRange = collect([&](uint32_t lane) { return good[lane] != 0; });
  assign<uint32_t>(warp, instr.slots[0], mask, [&](uint32_t lane) { return result[lane]; });
  assignPredicate(warp, instr.slots[1], mask, inRange);
}

void shuffleForm(Form& form) {
  if (!form.has("sync")) form.unknown("without .sync");
  const std::string kind = form.next();
  const Type type = form.type();
  const Operand& to = form.operand(0);
  Operand sink;
  sink.name = "_";
  const bool pair = to.kind == Operand::Kind::Pair;
  form.define(pair ? to.items[0] : to, type);
  form.define(pair ? to.items[1] : sink, Type::pred);
  form.use(form.operand(1), type);
  for (size_t i = 2; i < 5; ++i) form.use(form.operand(i), Type::u32);
  if (kind == "up") return form.finish(shuffle<Shuffle::Up>);
  if (kind == "down") return form.finish(shuffle<Shuffle::Down>);
  if (kind == "bfly") return form.finish(shuffle<Shuffle::Butterfly>);
  if (kind == "idx") return form.finish(shuffle<Shuffle::Index>);
  form.unknown("kind " + kind);
}

enum class Vote { All, Any, Uniform, Ballot };

/** slots: result, input, members; the modifier negates the input. */
template <Vote Kind>
void vote(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!membersHere(warp, instr, mask, instr.slots[2])) return;
  const uint32_t input = warp.predicate(instr.slots[1]) ^ instr.modifier;
  const uint32_t* members = warp.reg<uint32_t>(instr.slots[2]);
  const auto among = [&](uint32_t lane) { return members[lane] & mask; };
  if constexpr (Kind == Vote::Ballot) {
    alignas(64) uint32_t result[kLanes];
    for (uint32_t lane = 0; lane < kLanes; ++lane) result[lane] = input & among(lane);
    assign<uint32_t>(warp, instr.slots[0], mask, [&](uint32_t lane) { return result[lane]; });
  } else {
    uint32_t result = 0;
    forEachLane(mask, [&](uint32_t lane) {
      const uint32_t set = input & among(lane), all = among(lane);
      const bool holds = Kind == Vote::All ? set == all : Kind == Vote::Any ? set != 0 : set == 0 || set == all;
      result |= holds ? 1u << lane : 0;
    });
    assignPredicate(warp, instr.slots[0], mask, result);
  }
}

void voteForm(Form& form) {
  if (!form.has("sync")) form.unknown("without .sync");
  const std::string kind = form.next();
  const Type type = form.type();
  form.define(form.operand(0), type);
  form.instr.modifier = form.usePredicate(form.operand(1)) ? kAllLanes : 0;
  form.use(form.operand(2), Type::u32);
  if (kind == "ballot") return form.finish(vote<Vote::Ballot>);
  if (kind == "all") return form.finish(vote<Vote::All>);
  if (kind == "any") return form.finish(vote<Vote::Any>);
  if (kind == "uni") return form.finish(vote<Vote::Uniform>);
  form.unknown("kind " + kind);
}

/** slots: result, all equal, value, members. */
template <class T, bool All>
void match(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!membersHere(warp, instr, mask, instr.slots[3])) return;
  const T* value = warp.reg<T>(instr.slots[2]);
  const uint32_t* members = warp.reg<uint32_t>(instr.slots[3]);
  alignas(64) uint32_t result[kLanes] = {};
  uint32_t allEqual = 0;
  forEachLane(mask, [&](uint32_t lane) {
    const uint32_t among = members[lane] & mask;
    forEachLane(among, [&](uint32_t other) { result[lane] |= value[other] == value[lane] ? 1u << other : 0; });
    if (result[lane] == among) allEqual |= 1u << lane;
    if (All && result[lane] != among) result[lane] = 0;
  });
  assign<uint32_t>(warp, instr.slots[0], mask, [&](uint32_t lane) { return result[lane]; });
  assignPredicate(warp, instr.slots[1], mask, allEqual);
}

void matchForm(Form& form) {
  const bool all = form.has("all");
  if (!all) form.has("any");
  form.has("sync");
  const Type type = form.type();
  const Operand& to = form.operand(0);
  Operand sink;
  sink.name = "_";
  const bool pair = to.kind == Operand::Kind::Pair;
  form.define(pair ? to.items[0] : to, Type::b32);
  form.define(pair ? to.items[1] : sink, Type::pred);
  form.use(form.operand(1), type);
  form.use(form.operand(2), Type::u32);
  if (ptx::sizeOf(type) == 8) return form.finish(all ? match<uint64_t, true> : match<uint64_t, false>);
  form.finish(all ? match<uint32_t, true> : match<uint32_t, false>);
}

/** slots: result, value, members. */
template <class T, class F>
void reduce(Warp& warp, const Instr& instr, uint32_t mask) {
  if (!membersHere(warp, instr, mask, instr.slots[2])) return;
  const T* value = warp.reg<T>(instr.slots[1]);
  const uint32_t* members = warp.reg<uint32_t>(instr.slots[2]);
  alignas(64) T result[kLanes] = {};
  forEachLane(mask, [&](uint32_t lane) {
    const uint32_t among = members[lane] & mask;
    T total = value[__builtin_ctz(among)];
    forEachLane(among & (among - 1), [&](uint32_t other) { total = F{}(total, value[other]); });
    result[lane] = total;
  });
  assign<T>(warp, instr.slots[0], mask, [&](uint32_t lane) { return result[lane]; });
}

void reduceForm(Form& form) {
  form.has("sync");
  const std::string operation = form.next();
  const Type type = form.type();
  sameTypes(form, type, 1);
  form.use(form.operand(2), Type::u32);
  form.finish(forInteger(form, type, [&](auto zero) -> Handler {
    using T = decltype(zero);
    if (operation == "add") return reduce<T, decltype([](T a, T b) { return static_cast<T>(a + b); })>;
    if (operation == "min") return reduce<T, decltype([](T a, T b) { return std::min(a, b); })>;
    if (operation == "max") return reduce<T, decltype([](T a, T b) { return std::max(a, b); })>;
    if (operation == "and") return reduce<T, decltype([](T a, T b) { return static_cast<T>(a & b); })>;
    if (operation == "or") return reduce<T, decltype([](T a, T b) { return static_cast<T>(a | b); })>;
    if (operation == "xor") return reduce<T, decltype([](T a, T b) { return static_cast<T>(a ^ b); })>;
    form.unknown("operation " + operation);
  }));
}

void activeMask(Form& form) {
  const Type type = form.type();
  form.define(form.operand(0), type);
  form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
    assign<uint32_t>(warp, instr.slots[0], mask, [=](uint32_t) { return mask; });
  });
}

/** elect.sync d|p, members: the lowest lane. */
void elect(Form& form) {
  form.has("sync");
  const Operand& to = form.operand(0);
  if (to.kind != Operand::Kind::Pair) form.unknown("result");
  form.define(to.items[0], Type::b32);
  form.define(to.items[1], Type::pred);
  form.use(form.operand(1), Type::u32);
  form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
    if (!membersHere(warp, instr, mask, instr.slots[2])) return;
    const auto lowest = static_cast<uint32_t>(__builtin_ctz(mask));
    assign<uint32_t>(warp, instr.slots[0], mask, [=](uint32_t) { return lowest; });
    assignPredicate(warp, instr.slots[1], mask, 1u << lowest);
  });
}

}  // namespace

void addWarpForms(FormTable& table) {
  table["shfl"] = shuffleForm;
  table["vote"] = voteForm;
  table["match"] = matchForm;
  table["redux"] = reduceForm;
  table["activemask"] = activeMask;
  table["elect"] = elect;
}

}  // namespace cudasim
