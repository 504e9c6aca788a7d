// add, sub, mul, mad, div, rem, min, max, abs, neg, sad on integers; the float cases are handed on.
#include <algorithm>
#include <type_traits>

#include "machine/float_forms.h"
#include "machine/forms.h"
#include "machine/handlers.h"

namespace cudasim {
namespace {

__extension__ typedef __int128 Int128;
__extension__ typedef unsigned __int128 Uint128;

template <class T>
struct WideOf;
template <>
struct WideOf<uint16_t> {
  using Type = uint32_t;
};
template <>
struct WideOf<int16_t> {
  using Type = int32_t;
};
template <>
struct WideOf<uint32_t> {
  using Type = uint64_t;
};
template <>
struct WideOf<int32_t> {
  using Type = int64_t;
};
template <>
struct WideOf<uint64_t> {
  using Type = Uint128;
};
template <>
struct WideOf<int64_t> {
  using Type = Int128;
};
template <class T>
using Wide = typename WideOf<T>::Type;

template <class T>
T low(T a, T b) {
  using U = std::make_unsigned_t<T>;
  return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
}

template <class F>
void integerBinary(Form& form, Type type, F f) {
  sameTypes(form, type, 2);
  form.finish(forInteger(form, type, [f](auto zero) { return binary<decltype(zero)>(f); }));
}

void add(Form& form) {
  const Type type = form.type();
  if (ptx::isFloat(type)) return floatBinary(form, type, FloatOperation::Add);
  if (carryForm(form, type)) return;
  if (type == Type::s32 && form.has("sat")) {
    sameTypes(form, type, 2);
    return form.finish(binary<int32_t>([](int32_t a, int32_t b) {
      return static_cast<int32_t>(std::clamp<int64_t>(int64_t{a} + b, INT32_MIN, INT32_MAX));
    }));
  }
  integerBinary(form, type, [](auto a, auto b) { return a + b; });
}

void sub(Form& form) {
  const Type type = form.type();
  if (ptx::isFloat(type)) return floatBinary(form, type, FloatOperation::Subtract);
  if (carryForm(form, type)) return;
  integerBinary(form, type, [](auto a, auto b) { return a - b; });
}

Type widened(Type type) {
  switch (type) {
    case Type::u16:
      return Type::u32;
    case Type::s16:
      return Type::s32;
    case Type::u32:
      return Type::u64;
    default:
      return Type::s64;
  }
}

template <class F>
Handler forNarrow(Form& form, Type type, F f) {
  switch (type) {
    case Type::u16:
      return f(uint16_t{});
    case Type::s16:
      return f(int16_t{});
    case Type::u32:
      return f(uint32_t{});
    case Type::s32:
      return f(int32_t{});
    default:
      form.unknown();
  }
}

void mul(Form& form) {
  const Type type = form.type();
  if (ptx::isFloat(type)) return floatBinary(form, type, FloatOperation::Multiply);
  if (form.has("wide")) {
    form.define(form.operand(0), widened(type));
    form.use(form.operand(1), type);
    form.use(form.operand(2), type);
    return form.finish(forNarrow(form, type, [](auto zero) {
      using T = decltype(zero);
      return binaryMixed<Wide<T>, T, T>([](T a, T b) { return Wide<T>{a} * Wide<T>{b}; });
    }));
  }
  sameTypes(form, type, 2);
  if (form.has("hi")) {
    return form.finish(forInteger(form, type, [](auto zero) {
      using T = decltype(zero);
      return binary<T>([](T a, T b) { return static_cast<T>((Wide<T>{a} * Wide<T>{b}) >> (8 * sizeof(T))); });
    }));
  }
  form.has("lo");
  form.finish(forInteger(form, type, [](auto zero) {
    using T = decltype(zero);
    return binary<T>([](T a, T b) { return low(a, b); });
  }));
}

void mad(Form& form) {
  const Type type = form.type();
  if (ptx::isFloat(type)) return floatFma(form, type);
  if (carryForm(form, type)) return;
  if (form.has("wide")) {
    form.define(form.operand(0), widened(type));
    form.use(form.operand(1), type);
    form.use(form.operand(2), type);
    form.use(form.operand(3), widened(type));
    return form.finish(forNarrow(form, type, [](auto zero) {
      using T = decltype(zero);
      return ternaryMixed<Wide<T>, T, Wide<T>>([](T a, T b, Wide<T> c) { return Wide<T>{a} * Wide<T>{b} + c; });
    }));
  }
  sameTypes(form, type, 3);
  if (form.has("hi")) {
    return form.finish(forInteger(form, type, [](auto zero) {
      using T = decltype(zero);
      return ternary<T>(
          [](T a, T b, T c) { return static_cast<T>(((Wide<T>{a} * Wide<T>{b}) >> (8 * sizeof(T))) + c); });
    }));
  }
  form.has("lo");
  form.finish(forInteger(form, type, [](auto zero) {
    using T = decltype(zero);
    return ternary<T>([](T a, T b, T c) { return static_cast<T>(low(a, b) + c); });
  }));
}

void divide(Form& form) {
  const Type type = form.type();
  if (ptx::isFloat(type)) return floatDivide(form, type);
  integerBinary(form, type, [](auto a, auto b) -> decltype(a) {
    if (b == 0) return static_cast<decltype(a)>(-1);
    return b == static_cast<decltype(b)>(-1) && std::is_signed_v<decltype(b)> ? static_cast<decltype(a)>(-a)
                                                                              : static_cast<decltype(a)>(a / b);
  });
}

void remainder(Form& form) {
  const Type type = form.type();
  integerBinary(form, type, [](auto a, auto b) -> decltype(a) {
    if (b == 0) return a;
    return b == static_cast<decltype(b)>(-1) && std::is_signed_v<decltype(b)> ? decltype(a){0}
                                                                              : static_cast<decltype(a)>(a % b);
  });
}

void minimum(Form& form) {
  const Type type = form.type();
  if (ptx::isFloat(type)) return floatBinary(form, type, FloatOperation::Minimum);
  integerBinary(form, type, [](auto a, auto b) { return std::min(a, b); });
}

void maximum(Form& form) {
  const Type type = form.type();
  if (ptx::isFloat(type)) return floatBinary(form, type, FloatOperation::Maximum);
  integerBinary(form, type, [](auto a, auto b) { return std::max(a, b); });
}

void absolute(Form& form) {
  const Type type = form.type();
  if (ptx::isFloat(type)) return floatUnary(form, type, FloatOperation::Absolute);
  sameTypes(form, type, 1);
  form.finish(forInteger(form, type, [](auto zero) {
    using T = decltype(zero);
    return unary<T, T>([](T a) { return static_cast<std::make_signed_t<T>>(a) < 0 ? static_cast<T>(-a) : a; });
  }));
}

void negate(Form& form) {
  const Type type = form.type();
  if (ptx::isFloat(type)) return floatUnary(form, type, FloatOperation::Negate);
  sameTypes(form, type, 1);
  form.finish(forInteger(form, type, [](auto zero) {
    using T = decltype(zero);
    return unary<T, T>([](T a) { return static_cast<T>(-a); });
  }));
}

void sad(Form& form) {
  const Type type = form.type();
  sameTypes(form, type, 3);
  form.finish(forInteger(form, type, [](auto zero) {
    using T = decltype(zero);
    return ternary<T>([](T a, T b, T c) { return static_cast<T>(c + (a < b ? b - a : a - b)); });
  }));
}

}  // namespace

void addIntegerForms(FormTable& table) {
  table["add"] = add;
  table["sub"] = sub;
  table["mul"] = mul;
  table["mad"] = mad;
  table["div"] = divide;
  table["rem"] = remainder;
  table["min"] = minimum;
  table["max"] = maximum;
  table["abs"] = absolute;
  table["neg"] = negate;
  table["sad"] = sad;
}

}  // namespace cudasim
