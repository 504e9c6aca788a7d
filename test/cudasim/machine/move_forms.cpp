// mov, cvta, selp, slct, prmt, and pairs of halves packed into one register.
#include "machine/block.h"
#include "machine/forms.h"
#include "machine/handlers.h"

namespace cudasim {
namespace {

/** mov.b64 {lo, hi}, source: the parts lie in slots[1..]. */
template <class Part, class Whole>
void split(Warp& warp, const Instr& instr, uint32_t mask) {
  const Whole* whole = warp.reg<Whole>(instr.slots[0]);
  for (uint32_t part = 0; part < sizeof(Whole) / sizeof(Part); ++part) {
    assign<Part>(warp, instr.slots[1 + part], mask,
                 [=](uint32_t i) { return static_cast<Part>(whole[i] >> (8 * sizeof(Part) * part)); });
  }
}

template <class Part, class Whole>
void join(Warp& warp, const Instr& instr, uint32_t mask) {
  constexpr uint32_t parts = sizeof(Whole) / sizeof(Part);
  const Part* part[parts];
  for (uint32_t p = 0; p < parts; ++p) part[p] = warp.reg<Part>(instr.slots[1 + p]);
  assign<Whole>(warp, instr.slots[0], mask, [=](uint32_t i) {
    Whole whole = 0;
    for (uint32_t p = 0; p < parts; ++p)
      whole |= static_cast<Whole>(static_cast<Whole>(part[p][i]) << (8 * sizeof(Part) * p));
    return whole;
  });
}

template <template <class, class> class Which>
Handler forParts(const Form& form, uint32_t whole, size_t parts) {
  if (whole == 4 && parts == 2) return Which<uint16_t, uint32_t>::handler;
  if (whole == 8 && parts == 2) return Which<uint32_t, uint64_t>::handler;
  if (whole == 8 && parts == 4) return Which<uint16_t, uint64_t>::handler;
  form.unknown("parts of other sizes");
}
template <class Part, class Whole>
struct Split {
  static constexpr Handler handler = split<Part, Whole>;
};
template <class Part, class Whole>
struct Join {
  static constexpr Handler handler = join<Part, Whole>;
};

void movePredicate(Warp& warp, const Instr& instr, uint32_t mask) {
  assignPredicate(warp, instr.slots[0], mask, warp.predicate(instr.slots[1]));
}

void move(Form& form) {
  const Type type = form.type();
  form.copies = true;
  const Operand &to = form.operand(0), &from = form.operand(1);
  if (type == Type::pred) {
    sameTypes(form, type, 1);
    return form.finish(movePredicate);
  }
  const bool splits = to.kind == Operand::Kind::Vector, joins = from.kind == Operand::Kind::Vector;
  if (splits || joins) {
    const std::vector<Operand>& parts = splits ? to.items : from.items;
    const auto size = static_cast<uint32_t>(ptx::sizeOf(type) / parts.size());
    splits ? form.use(from, type) : form.define(to, type);
    for (const Operand& part : parts) {
      splits ? form.define(part, ptx::bitsOf(size)) : form.use(part, ptx::bitsOf(size));
    }
    return form.finish(splits ? forParts<Split>(form, ptx::sizeOf(type), parts.size())
                              : forParts<Join>(form, ptx::sizeOf(type), parts.size()));
  }
  sameTypes(form, type, 1);
  form.finish(forBits(form, type, [](auto zero) {
    using T = decltype(zero);
    return unary<T, T>([](T a) { return a; });
  }));
}

template <int64_t Shift>
void shiftAddress(Warp& warp, const Instr& instr, uint32_t mask) {
  const uint64_t* a = warp.reg<uint64_t>(instr.slots[1]);
  assign<uint64_t>(warp, instr.slots[0], mask, [=](uint32_t i) { return a[i] + static_cast<uint64_t>(Shift); });
}

/** Between addresses of a space and generic ones. */
void convertAddress(Form& form) {
  const bool toSpace = form.has("to");
  const std::string space = form.next();
  const Type type = form.type();
  sameTypes(form, type, 1);
  if (type != Type::u64) form.unknown("addresses of 32 bits");
  const auto choose = [&](Handler from, Handler to) { form.finish(toSpace ? to : from); };
  if (space == "shared" || space == "shared::cta") {
    return choose(shiftAddress<int64_t{kSharedWindow}>, shiftAddress<-int64_t{kSharedWindow}>);
  }
  if (space == "local") return choose(shiftAddress<int64_t{kLocalWindow}>, shiftAddress<-int64_t{kLocalWindow}>);
  if (space == "global" || space == "const" || space == "param") return choose(shiftAddress<0>, shiftAddress<0>);
  form.unknown("space " + space);
}

void select(Form& form) {
  const Type type = form.type();
  form.copies = true;
  sameTypes(form, type, 2);
  form.instr.modifier = form.usePredicate(form.operand(3)) ? kAllLanes : 0;
  form.finish(forBits(form, type, [](auto zero) -> Handler {
    using T = decltype(zero);
    return [](Warp& warp, const Instr& instr, uint32_t mask) {
      const T *a = warp.reg<T>(instr.slots[1]), *b = warp.reg<T>(instr.slots[2]);
      const uint32_t chosen = warp.predicate(instr.slots[3]) ^ instr.modifier;
      assign<T>(warp, instr.slots[0], mask, [=](uint32_t i) { return (chosen >> i & 1) != 0 ? a[i] : b[i]; });
    };
  }));
}

/** slct: a where c >= 0. */
void selectBySign(Form& form) {
  const Type type = form.type(), by = form.type();
  form.has("ftz");
  sameTypes(form, type, 2);
  form.use(form.operand(3), by);
  form.finish(forBits(form, type, [by](auto zero) {
    using T = decltype(zero);
    return by == Type::f32 ? ternaryMixed<T, T, float>([](T a, T b, float c) { return c >= 0 ? a : b; })
                           : ternaryMixed<T, T, int32_t>([](T a, T b, int32_t c) { return c >= 0 ? a : b; });
  }));
}

uint32_t permuteByte(uint64_t bytes, uint32_t selector) {
  const auto byte = static_cast<uint32_t>(bytes >> (8 * (selector & 7)) & 0xFF);
  return (selector & 8) == 0 ? byte : (byte & 0x80) != 0 ? 0xFF : 0;
}

void permute(Form& form) {
  const Type type = form.type();
  const std::string mode = form.next();
  if (!mode.empty()) form.unknown("mode " + mode);
  sameTypes(form, type, 3);
  form.finish(ternary<uint32_t>([](uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t bytes = uint64_t{b} << 32 | a;
    uint32_t result = 0;
    for (uint32_t i = 0; i < 4; ++i) result |= permuteByte(bytes, selector >> (4 * i) & 15) << (8 * i);
    return result;
  }));
}

}  // namespace

void addMoveForms(FormTable& table) {
  table["mov"] = move;
  table["cvta"] = convertAddress;
  table["selp"] = select;
  table["slct"] = selectBySign;
  table["prmt"] = permute;
}

}  // namespace cudasim
