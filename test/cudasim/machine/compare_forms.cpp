// setp and set: comparisons, combined with another predicate.
#include <cmath>

#include "machine/forms.h"
#include "machine/half.h"
#include "machine/handlers.h"

namespace cudasim {
namespace {

enum Combination : uint32_t { kNone = 0, kAnd = 1, kOr = 2, kXor = 3, kNegated = 4 };

/** slots: result, its complement, a, b, other predicate. */
template <class T, class F>
void compare(Warp& warp, const Instr& instr, uint32_t mask) {
  const T *a = warp.reg<T>(instr.slots[2]), *b = warp.reg<T>(instr.slots[3]);
  uint32_t result = collect([=](uint32_t i) { return F{}(a[i], b[i]); });
  uint32_t complement = ~result;
  if (instr.modifier != kNone) {
    uint32_t other = warp.predicate(instr.slots[4]);
    if ((instr.modifier & kNegated) != 0) other = ~other;
    switch (instr.modifier & 3) {
      case kAnd:
        result &= other, complement &= other;
        break;
      case kOr:
        result |= other, complement |= other;
        break;
      default:
        result ^= other, complement ^= other;
        break;
    }
  }
  assignPredicate(warp, instr.slots[1], mask, complement);  // first: both may be the same scratch register
  assignPredicate(warp, instr.slots[0], mask, result);
}

template <class T>
Handler integerComparison(const Form& form, const std::string& name) {
  if (name == "eq") return compare<T, decltype([](T a, T b) { return a == b; })>;
  if (name == "ne") return compare<T, decltype([](T a, T b) { return a != b; })>;
  if (name == "lt" || name == "lo") return compare<T, decltype([](T a, T b) { return a < b; })>;
  if (name == "le" || name == "ls") return compare<T, decltype([](T a, T b) { return a <= b; })>;
  if (name == "gt" || name == "hi") return compare<T, decltype([](T a, T b) { return a > b; })>;
  if (name == "ge" || name == "hs") return compare<T, decltype([](T a, T b) { return a >= b; })>;
  form.unknown("comparison " + name);
}

template <class T>
auto number(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    return value;
  } else {
    return toFloat(value);
  }
}

template <class T>
Handler floatComparison(const Form& form, const std::string& name) {
  if (name == "eq") return compare<T, decltype([](T a, T b) { return number(a) == number(b); })>;
  if (name == "lt") return compare<T, decltype([](T a, T b) { return number(a) < number(b); })>;
  if (name == "le") return compare<T, decltype([](T a, T b) { return number(a) <= number(b); })>;
  if (name == "gt") return compare<T, decltype([](T a, T b) { return number(a) > number(b); })>;
  if (name == "ge") return compare<T, decltype([](T a, T b) { return number(a) >= number(b); })>;
  if (name == "neu") return compare<T, decltype([](T a, T b) { return !(number(a) == number(b)); })>;
  if (name == "ltu") return compare<T, decltype([](T a, T b) { return !(number(a) >= number(b)); })>;
  if (name == "leu") return compare<T, decltype([](T a, T b) { return !(number(a) > number(b)); })>;
  if (name == "gtu") return compare<T, decltype([](T a, T b) { return !(number(a) <= number(b)); })>;
  if (name == "geu") return compare<T, decltype([](T a, T b) { return !(number(a) < number(b)); })>;
  if (name == "ne") {
    return compare<T, decltype([](T a, T b) { return number(a) < number(b) || number(a) > number(b); })>;
  }
  if (name == "equ") {
    return compare<T, decltype([](T a, T b) { return !(number(a) < number(b)) && !(number(a) > number(b)); })>;
  }
  if (name == "num") {
    return compare<T, decltype([](T a, T b) { return number(a) == number(a) && number(b) == number(b); })>;
  }
  if (name == "nan") {
    return compare<T, decltype([](T a, T b) { return number(a) != number(a) || number(b) != number(b); })>;
  }
  form.unknown("comparison " + name);
}

Handler comparison(const Form& form, Type type, const std::string& name) {
  switch (type) {
    case Type::f32:
      return floatComparison<float>(form, name);
    case Type::f64:
      return floatComparison<double>(form, name);
    case Type::f16:
      return floatComparison<Half>(form, name);
    case Type::bf16:
      return floatComparison<Bfloat>(form, name);
    default:
      return forInteger(form, type, [&](auto zero) { return integerComparison<decltype(zero)>(form, name); });
  }
}

/** What follows the comparison: .and, .or, .xor. */
uint32_t combination(Form& form) {
  if (form.has("and")) return kAnd;
  if (form.has("or")) return kOr;
  return form.has("xor") ? kXor : kNone;
}

void setPredicate(Form& form) {
  const std::string name = form.next();
  uint32_t combined = combination(form);
  const Type type = form.type();
  form.has("ftz");
  const Operand& to = form.operand(0);
  const bool pair = to.kind == Operand::Kind::Pair;
  Operand sink;
  sink.name = "_";
  form.define(pair ? to.items[0] : to, Type::pred);
  form.define(pair ? to.items[1] : sink, Type::pred);
  form.use(form.operand(1), type);
  form.use(form.operand(2), type);
  if (combined != kNone && form.usePredicate(form.operand(3))) combined |= kNegated;
  form.instr.modifier = combined;
  form.finish(comparison(form, type, name));
}

/** set.lt.u32.f32: all ones or, as f32, 1.0. The comparison runs into a scratch predicate. */
template <bool AsFloat>
void expand(Warp& warp, const Instr& instr, uint32_t mask) {
  instr.inner(warp, instr, mask);
  const uint32_t result = warp.predicate(instr.slots[0]);
  const uint32_t whole = AsFloat ? 0x3F800000u : ~0u;
  assign<uint32_t>(warp, instr.slots[5], mask, [=](uint32_t i) { return (result >> i & 1) != 0 ? whole : 0u; });
}

void set(Form& form) {
  const std::string name = form.next();
  uint32_t combined = combination(form);
  form.has("ftz");
  const Type to = form.type(), type = form.type();
  if (ptx::sizeOf(to) != 4 || to == Type::f16x2 || to == Type::bf16x2) form.unknown("result type");
  Operand sink;
  sink.name = "_";
  form.define(sink, Type::pred);
  form.define(sink, Type::pred);
  form.use(form.operand(1), type);
  form.use(form.operand(2), type);
  if (combined == kNone) {
    form.usePredicateConstant(true);
  } else if (form.usePredicate(form.operand(3))) {
    combined |= kNegated;
  }
  form.define(form.operand(0), to);
  form.instr.modifier = combined;
  form.finish(to == Type::f32 ? expand<true> : expand<false>);
  form.instr.inner = comparison(form, type, name);
}

}  // namespace

void addCompareForms(FormTable& table) {
  table["setp"] = setPredicate;
  table["set"] = set;
}

}  // namespace cudasim
