// f32 and f64 arithmetic. Directed rounding and flushing of subnormal numbers are the host's: the mode is set around
// the handler. Approximations are correctly rounded here.
#include "machine/float_forms.h"

#include <immintrin.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "machine/forms.h"
#include "machine/handlers.h"

namespace cudasim {
namespace {

// Instr::modifier: bits of the host's control register to set, and one of ours.
constexpr uint32_t kFlush = 0x8040, kDown = 0x2000, kUp = 0x4000, kTowardZero = 0x6000, kSaturate = 1u << 31;

template <class T>
void saturate(Warp& warp, Slot slot, uint32_t mask) {
  T* value = warp.reg<T>(slot);
  assign<T>(warp, slot, mask, [=](uint32_t i) { return value[i] > 0 ? (value[i] < 1 ? value[i] : T{1}) : T{0}; });
}

template <class T>
void runInMode(Warp& warp, const Instr& instr, uint32_t mask) {
  const uint32_t before = _mm_getcsr();
  _mm_setcsr(before | (instr.modifier & 0xFFFF));
  asm volatile("" ::: "memory");
  instr.inner(warp, instr, mask);
  asm volatile("" ::: "memory");
  _mm_setcsr(before);
  if ((instr.modifier & kSaturate) != 0) saturate<T>(warp, instr.slots[0], mask);
}

template <class F>
Handler forFloat(const Form& form, Type type, F f) {
  if (type == Type::f32) return f(float{});
  if (type == Type::f64) return f(double{});
  form.unknown();
}

/** The smaller number; a NaN only if both are. -0 is below +0. */
template <class T>
T minimum(T a, T b) {
  if (a == b) return std::signbit(a) ? a : b;
  return a < b || std::isnan(b) ? a : b;
}
template <class T>
T maximum(T a, T b) {
  if (a == b) return std::signbit(a) ? b : a;
  return a > b || std::isnan(b) ? a : b;
}

template <class F>
void approximate(Form& form, F) {
  const Type type = form.type();
  form.has("approx");
  sameTypes(form, type, 1);
  if (type != Type::f32) form.unknown();
  finishFloat(form, type, unary<float, float>([](float x) { return static_cast<float>(F{}(double{x})); }));
}

void reciprocal(Form& form) {
  const bool approximates = form.has("approx");
  if (approximates && form.in.parts.back() == "f32") return approximate(form, [](double x) { return 1 / x; });
  const Type type = form.type();
  sameTypes(form, type, 1);
  if (approximates) {  // rcp.approx.ftz.f64: the lower half of the result is 0
    if (type != Type::f64) form.unknown();
    return finishFloat(form, type, unary<double, double>([](double x) {
                         return std::bit_cast<double>(std::bit_cast<uint64_t>(1 / x) & ~0xFFFFFFFFull);
                       }));
  }
  finishFloat(form, type, forFloat(form, type, [](auto zero) {
                using T = decltype(zero);
                return unary<T, T>([](T x) { return 1 / x; });
              }));
}

void squareRoot(Form& form) {
  if (form.has("approx")) return approximate(form, [](double x) { return std::sqrt(x); });
  const Type type = form.type();
  sameTypes(form, type, 1);
  finishFloat(form, type, forFloat(form, type, [](auto zero) {
                using T = decltype(zero);
                return unary<T, T>([](T x) { return std::sqrt(x); });
              }));
}

void reciprocalRoot(Form& form) {
  if (form.in.parts.back() == "f32") return approximate(form, [](double x) { return 1 / std::sqrt(x); });
  form.has("approx");
  const Type type = form.type();
  sameTypes(form, type, 1);
  if (type != Type::f64) form.unknown();
  finishFloat(form, type, unary<double, double>([](double x) { return 1 / std::sqrt(x); }));
}

void copySign(Form& form) {
  const Type type = form.type();
  sameTypes(form, type, 2);
  form.finish(forFloat(form, type, [](auto zero) {
    using T = decltype(zero);
    return binary<T>([](T a, T b) { return std::copysign(b, a); });
  }));
}

/** testp.infinite and its like. */
void testProperty(Form& form) {
  const std::string property = form.next();
  const Type type = form.type();
  form.define(form.operand(0), Type::pred);
  form.use(form.operand(1), type);
  const auto make = [&](auto test) {
    form.finish(forFloat(form, type, [test](auto zero) -> Handler {
      using T = decltype(zero);
      (void)test;
      return [](Warp& warp, const Instr& instr, uint32_t mask) {
        const T* a = warp.reg<T>(instr.slots[1]);
        assignPredicate(warp, instr.slots[0], mask, collect([=](uint32_t i) { return decltype(test){}(a[i]); }));
      };
    }));
  };
  if (property == "finite") return make([](auto x) { return std::isfinite(x); });
  if (property == "infinite") return make([](auto x) { return std::isinf(x); });
  if (property == "number") return make([](auto x) { return !std::isnan(x); });
  if (property == "notanumber") return make([](auto x) { return std::isnan(x); });
  if (property == "normal") return make([](auto x) { return std::isnormal(x); });
  if (property == "subnormal") return make([](auto x) { return std::fpclassify(x) == FP_SUBNORMAL; });
  form.unknown();
}

}  // namespace

void finishFloat(Form& form, Type type, Handler handler) {
  uint32_t mode = 0;
  form.has("rn");
  if (form.has("rz")) mode |= kTowardZero;
  if (form.has("rm")) mode |= kDown;
  if (form.has("rp")) mode |= kUp;
  if (form.has("ftz")) mode |= kFlush;
  if (form.has("sat")) mode |= kSaturate;
  form.finish(handler);
  if (mode == 0) return;
  form.instr.modifier = mode;
  form.instr.inner = handler;
  form.instr.run = type == Type::f64 ? runInMode<double> : runInMode<float>;
}

void floatBinary(Form& form, Type type, FloatOperation operation) {
  if (type != Type::f32 && type != Type::f64) return halfBinary(form, type, operation);
  const bool wantsNan = form.has("NaN");
  if (form.operandCount() == 4) form.unknown("three inputs");
  sameTypes(form, type, 2);
  finishFloat(form, type, forFloat(form, type, [&](auto zero) -> Handler {
                using T = decltype(zero);
                switch (operation) {
                  case FloatOperation::Add:
                    return binary<T>([](T a, T b) { return a + b; });
                  case FloatOperation::Subtract:
                    return binary<T>([](T a, T b) { return a - b; });
                  case FloatOperation::Multiply:
                    return binary<T>([](T a, T b) { return a * b; });
                  case FloatOperation::Minimum:
                    if (wantsNan) return binary<T>([](T a, T b) { return a != a || b != b ? T(NAN) : minimum(a, b); });
                    return binary<T>([](T a, T b) { return minimum(a, b); });
                  case FloatOperation::Maximum:
                    if (wantsNan) return binary<T>([](T a, T b) { return a != a || b != b ? T(NAN) : maximum(a, b); });
                    return binary<T>([](T a, T b) { return maximum(a, b); });
                  default:
                    form.unknown();
                }
              }));
}

void floatUnary(Form& form, Type type, FloatOperation operation) {
  if (type != Type::f32 && type != Type::f64) return halfUnary(form, type, operation);
  sameTypes(form, type, 1);
  finishFloat(form, type, forFloat(form, type, [&](auto zero) {
                using T = decltype(zero);
                return operation == FloatOperation::Negate ? unary<T, T>([](T a) { return -a; })
                                                           : unary<T, T>([](T a) { return std::fabs(a); });
              }));
}

void floatFma(Form& form, Type type) {
  if (type != Type::f32 && type != Type::f64) return halfFma(form, type);
  sameTypes(form, type, 3);
  finishFloat(form, type, forFloat(form, type, [](auto zero) {
                using T = decltype(zero);
                return ternary<T>([](T a, T b, T c) { return std::fma(a, b, c); });
              }));
}

void floatDivide(Form& form, Type type) {
  form.ignore({"approx", "full"});
  sameTypes(form, type, 2);
  finishFloat(form, type, forFloat(form, type, [](auto zero) {
                using T = decltype(zero);
                return binary<T>([](T a, T b) { return a / b; });
              }));
}

void addFloatForms(FormTable& table) {
  table["fma"] = [](Form& form) { floatFma(form, form.type()); };
  table["rcp"] = reciprocal;
  table["sqrt"] = squareRoot;
  table["rsqrt"] = reciprocalRoot;
  table["sin"] = [](Form& form) { approximate(form, [](double x) { return std::sin(x); }); };
  table["cos"] = [](Form& form) { approximate(form, [](double x) { return std::cos(x); }); };
  table["lg2"] = [](Form& form) { approximate(form, [](double x) { return std::log2(x); }); };
  table["copysign"] = copySign;
  table["testp"] = testProperty;
}

}  // namespace cudasim
