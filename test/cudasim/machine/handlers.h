// Makes handlers from what happens to one lane. The functions given have no state: each handler is one loop over
// 32 lanes that the compiler vectorises.
#pragma once

#include "machine/form.h"
#include "machine/warp.h"

namespace cudasim {

template <class D, class A, class F>
Handler unary(F) {
  return [](Warp& warp, const Instr& instr, uint32_t mask) {
    const A* a = warp.reg<A>(instr.slots[1]);
    assign<D>(warp, instr.slots[0], mask, [=](uint32_t i) { return static_cast<D>(F{}(a[i])); });
  };
}

template <class D, class A, class B, class F>
Handler binaryMixed(F) {
  return [](Warp& warp, const Instr& instr, uint32_t mask) {
    const A* a = warp.reg<A>(instr.slots[1]);
    const B* b = warp.reg<B>(instr.slots[2]);
    assign<D>(warp, instr.slots[0], mask, [=](uint32_t i) { return static_cast<D>(F{}(a[i], b[i])); });
  };
}

template <class T, class F>
Handler binary(F f) {
  return binaryMixed<T, T, T>(f);
}

template <class D, class A, class C, class F>
Handler ternaryMixed(F) {
  return [](Warp& warp, const Instr& instr, uint32_t mask) {
    const A* a = warp.reg<A>(instr.slots[1]);
    const A* b = warp.reg<A>(instr.slots[2]);
    const C* c = warp.reg<C>(instr.slots[3]);
    assign<D>(warp, instr.slots[0], mask, [=](uint32_t i) { return static_cast<D>(F{}(a[i], b[i], c[i])); });
  };
}

template <class T, class F>
Handler ternary(F f) {
  return ternaryMixed<T, T, T>(f);
}

/** f(T{}) for the C++ type of an integer type. */
template <class F>
Handler forInteger(const Form& form, Type type, F f) {
  switch (type) {
    case Type::b16:
    case Type::u16:
      return f(uint16_t{});
    case Type::s16:
      return f(int16_t{});
    case Type::b32:
    case Type::u32:
      return f(uint32_t{});
    case Type::s32:
      return f(int32_t{});
    case Type::b64:
    case Type::u64:
      return f(uint64_t{});
    case Type::s64:
      return f(int64_t{});
    default:
      form.unknown();
  }
}

/** The same for what only moves or combines bits. */
template <class F>
Handler forBits(const Form& form, Type type, F f) {
  switch (ptx::sizeOf(type)) {
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    case 8:
      return f(uint64_t{});
    default:
      form.unknown();
  }
}

/** destination, source, ... all of one type. */
inline void sameTypes(Form& form, Type type, size_t sources) {
  form.define(form.operand(0), type);
  for (size_t i = 1; i <= sources; ++i) form.use(form.operand(i), type);
}

}  // namespace cudasim
