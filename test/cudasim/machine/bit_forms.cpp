// and, or, xor, not, lop3, shifts, bit fields and counts.
#include <algorithm>
#include <bit>

#include "machine/forms.h"
#include "machine/handlers.h"

namespace cudasim {
namespace {

template <class F>
void predicateLogic(Form& form, F) {
  form.define(form.operand(0), Type::pred);
  uint32_t negated = 0;
  for (size_t i = 1; i < form.operandCount(); ++i) negated |= form.usePredicate(form.operand(i)) ? 1u << i : 0;
  form.instr.modifier = negated;
  if (form.operandCount() == 2) form.usePredicateConstant(false);
  form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
    const uint32_t a = warp.predicate(instr.slots[1]) ^ ((instr.modifier & 2) != 0 ? kAllLanes : 0);
    const uint32_t b = warp.predicate(instr.slots[2]) ^ ((instr.modifier & 4) != 0 ? kAllLanes : 0);
    assignPredicate(warp, instr.slots[0], mask, F{}(a, b));
  });
}

template <class F>
void logic(Form& form, F f) {
  const Type type = form.type();
  if (type == Type::pred) return predicateLogic(form, f);
  sameTypes(form, type, 2);
  form.finish(forBits(form, type, [f](auto zero) { return binary<decltype(zero)>(f); }));
}

void complement(Form& form) {
  const Type type = form.type();
  if (type == Type::pred) return predicateLogic(form, [](uint32_t a, uint32_t) { return ~a; });
  sameTypes(form, type, 1);
  form.finish(forBits(form, type, [](auto zero) {
    using T = decltype(zero);
    return unary<T, T>([](T a) { return static_cast<T>(~a); });
  }));
}

void logicalNot(Form& form) {
  const Type type = form.type();
  sameTypes(form, type, 1);
  form.finish(forBits(form, type, [](auto zero) {
    using T = decltype(zero);
    return unary<T, T>([](T a) { return static_cast<T>(a == 0); });
  }));
}

/** Any function of three bits: the table's bit 4a + 2b + c. */
void lookUp3(Form& form) {
  const Type type = form.type();
  sameTypes(form, type, 3);
  form.instr.modifier = static_cast<uint32_t>(form.constant(form.operand(4)));
  form.finish([](Warp& warp, const Instr& instr, uint32_t mask) {
    const uint32_t *a = warp.reg<uint32_t>(instr.slots[1]), *b = warp.reg<uint32_t>(instr.slots[2]);
    const uint32_t *c = warp.reg<uint32_t>(instr.slots[3]), table = instr.modifier;
    uint32_t keep[8];
    for (uint32_t i = 0; i < 8; ++i) keep[i] = (table >> i & 1) != 0 ? ~0u : 0u;
    assign<uint32_t>(warp, instr.slots[0], mask, [=](uint32_t i) {
      const uint32_t x = a[i], y = b[i], z = c[i];
      return (keep[0] & ~x & ~y & ~z) | (keep[1] & ~x & ~y & z) | (keep[2] & ~x & y & ~z) | (keep[3] & ~x & y & z) |
             (keep[4] & x & ~y & ~z) | (keep[5] & x & ~y & z) | (keep[6] & x & y & ~z) | (keep[7] & x & y & z);
    });
  });
}

template <class F>
void shift(Form& form, F f) {
  const Type type = form.type();
  form.define(form.operand(0), type);
  form.use(form.operand(1), type);
  form.use(form.operand(2), Type::u32);
  form.finish(forInteger(form, type, [f](auto zero) {
    using T = decltype(zero);
    return binaryMixed<T, T, uint32_t>(f);
  }));
}

template <class T>
T shiftLeft(T a, uint32_t by) {
  return by < 8 * sizeof(T) ? static_cast<T>(a << (by & (8 * sizeof(T) - 1))) : T{0};
}
template <class T>
T shiftRight(T a, uint32_t by) {
  return static_cast<T>(a >> std::min<uint32_t>(by, 8 * sizeof(T) - 1)) >> (by < 8 * sizeof(T) || T(-1) < T{0} ? 0 : 1);
}

/** shf: a window of 32 bits in b:a. */
void funnel(Form& form) {
  const bool left = form.has("l");
  if (!left) form.has("r");
  const bool wraps = form.has("wrap");
  if (!wraps) form.has("clamp");
  form.type();
  sameTypes(form, Type::b32, 3);
  const auto make = [&](auto left_, auto wraps_) {
    return ternary<uint32_t>([](uint32_t a, uint32_t b, uint32_t c) {
      const uint32_t by = decltype(wraps_)::value ? c & 31 : std::min(c, 32u);
      const uint64_t both = uint64_t{b} << 32 | a;
      return static_cast<uint32_t>(decltype(left_)::value ? (both << by) >> 32 : both >> by);
    });
  };
  using Yes = std::true_type;
  using No = std::false_type;
  form.finish(left ? (wraps ? make(Yes{}, Yes{}) : make(Yes{}, No{})) : (wraps ? make(No{}, Yes{}) : make(No{}, No{})));
}

template <class T>
T extractField(T a, uint32_t position, uint32_t length) {
  const uint32_t bits = 8 * sizeof(T);
  position &= 0xFF, length &= 0xFF;
  if (length == 0) return 0;
  const bool isSigned = T(-1) < T{0};
  const uint32_t top = std::min(position + length - 1, bits - 1);
  using U = std::make_unsigned_t<T>;
  const bool fill = isSigned && (static_cast<U>(a) >> top & 1) != 0;
  const U field = position < bits ? static_cast<U>(static_cast<U>(a) >> position) : U{0};
  const uint32_t have = position < bits ? std::min(length, bits - position) : 0;
  const U keep = have >= bits ? static_cast<U>(~U{0}) : static_cast<U>((U{1} << have) - 1);
  return static_cast<T>(fill ? (field & keep) | static_cast<U>(~keep) : field & keep);
}

void bitFieldExtract(Form& form) {
  const Type type = form.type();
  form.define(form.operand(0), type);
  form.use(form.operand(1), type);
  form.use(form.operand(2), Type::u32);
  form.use(form.operand(3), Type::u32);
  form.finish(forInteger(form, type, [](auto zero) -> Handler {
    using T = decltype(zero);
    return [](Warp& warp, const Instr& instr, uint32_t mask) {
      const T* a = warp.reg<T>(instr.slots[1]);
      const uint32_t *at = warp.reg<uint32_t>(instr.slots[2]), *length = warp.reg<uint32_t>(instr.slots[3]);
      assign<T>(warp, instr.slots[0], mask, [=](uint32_t i) { return extractField(a[i], at[i], length[i]); });
    };
  }));
}

template <class T>
T insertField(T from, T into, uint32_t position, uint32_t length) {
  const uint32_t bits = 8 * sizeof(T);
  position &= 0xFF, length &= 0xFF;
  if (length == 0 || position >= bits) return into;
  const T low = length >= bits ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << length) - 1);
  const T field = static_cast<T>(low << position);
  return static_cast<T>((into & ~field) | ((from << position) & field));
}

void bitFieldInsert(Form& form) {
  const Type type = form.type();
  sameTypes(form, type, 2);
  form.use(form.operand(3), Type::u32);
  form.use(form.operand(4), Type::u32);
  form.finish(forBits(form, type, [](auto zero) -> Handler {
    using T = decltype(zero);
    return [](Warp& warp, const Instr& instr, uint32_t mask) {
      const T *from = warp.reg<T>(instr.slots[1]), *into = warp.reg<T>(instr.slots[2]);
      const uint32_t *at = warp.reg<uint32_t>(instr.slots[3]), *length = warp.reg<uint32_t>(instr.slots[4]);
      assign<T>(warp, instr.slots[0], mask,
                [=](uint32_t i) { return insertField(from[i], into[i], at[i], length[i]); });
    };
  }));
}

template <class F>
void count(Form& form, F f) {
  const Type type = form.type();
  form.define(form.operand(0), Type::u32);
  form.use(form.operand(1), type);
  form.finish(forBits(form, type, [f](auto zero) { return unary<uint32_t, decltype(zero)>(f); }));
}

void findBit(Form& form) {
  const bool asShift = form.has("shiftamt");
  const Type type = form.type();
  form.define(form.operand(0), Type::u32);
  form.use(form.operand(1), type);
  const auto make = [&](auto asShift_) {
    return forInteger(form, type, [](auto zero) {
      using T = decltype(zero);
      return unary<uint32_t, T>([](T a) -> uint32_t {
        using U = std::make_unsigned_t<T>;
        const U value = a < T{0} ? static_cast<U>(~a) : static_cast<U>(a);
        if (value == 0) return ~0u;
        const auto leading = static_cast<uint32_t>(std::countl_zero(value));
        return decltype(asShift_)::value ? leading : 8 * sizeof(T) - 1 - leading;
      });
    });
  };
  form.finish(asShift ? make(std::true_type{}) : make(std::false_type{}));
}

template <class T>
T reversed(T a) {
  T result = 0;
  for (uint32_t i = 0; i < 8 * sizeof(T); ++i) result = static_cast<T>(result << 1 | (a >> i & 1));
  return result;
}

void reverse(Form& form) {
  const Type type = form.type();
  sameTypes(form, type, 1);
  form.finish(forBits(form, type, [](auto zero) {
    using T = decltype(zero);
    return unary<T, T>([](T a) { return reversed(a); });
  }));
}

}  // namespace

void addBitForms(FormTable& table) {
  table["and"] = [](Form& form) { logic(form, [](auto a, auto b) { return a & b; }); };
  table["or"] = [](Form& form) { logic(form, [](auto a, auto b) { return a | b; }); };
  table["xor"] = [](Form& form) { logic(form, [](auto a, auto b) { return a ^ b; }); };
  table["not"] = complement;
  table["cnot"] = logicalNot;
  table["lop3"] = lookUp3;
  table["shl"] = [](Form& form) { shift(form, [](auto a, uint32_t by) { return shiftLeft(a, by); }); };
  table["shr"] = [](Form& form) { shift(form, [](auto a, uint32_t by) { return shiftRight(a, by); }); };
  table["shf"] = funnel;
  table["bfe"] = bitFieldExtract;
  table["bfi"] = bitFieldInsert;
  table["popc"] = [](Form& form) { count(form, [](auto a) { return static_cast<uint32_t>(std::popcount(a)); }); };
  table["clz"] = [](Form& form) { count(form, [](auto a) { return static_cast<uint32_t>(std::countl_zero(a)); }); };
  table["bfind"] = findBit;
  table["brev"] = reverse;
}

}  // namespace cudasim
