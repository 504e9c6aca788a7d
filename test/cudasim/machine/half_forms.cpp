// Arithmetic on f16 and bf16, single and in pairs: computed in double precision and rounded once.
#include <cmath>

#include "machine/float_forms.h"
#include "machine/forms.h"
#include "machine/half.h"
#include "machine/handlers.h"
#include "machine/rounding.h"

namespace cudasim {
namespace {

double bothOrder(double a, double b, bool smaller) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  if (a == b) return std::signbit(a) == smaller ? a : b;
  return (a < b) == smaller ? a : b;
}

template <class H>
uint16_t rounded(double value) {
  return fromFloat<H>(oddFloat(value)).bits;
}

/** f on each half of a register: one of 16 bits, or two in 32. */
template <class R, class F>
R eachHalf(F f) {
  uint32_t result = 0;
  for (uint32_t part = 0; part < sizeof(R) / 2; ++part) result |= uint32_t{f(16 * part)} << (16 * part);
  return static_cast<R>(result);
}

template <class H, class R, class F>
Handler halfOf1(F) {
  return unary<R, R>([](R a) {
    return eachHalf<R>(
        [=](uint32_t shift) { return rounded<H>(F{}(double{toFloat(H{static_cast<uint16_t>(a >> shift)})})); });
  });
}

template <class H, class R, class F>
Handler halfOf2(F) {
  return binary<R>([](R a, R b) {
    return eachHalf<R>([=](uint32_t shift) {
      return rounded<H>(F{}(double{toFloat(H{static_cast<uint16_t>(a >> shift)})},
                            double{toFloat(H{static_cast<uint16_t>(b >> shift)})}));
    });
  });
}

template <class H, class R, class F>
Handler halfOf3(F) {
  return ternary<R>([](R a, R b, R c) {
    return eachHalf<R>([=](uint32_t shift) {
      return rounded<H>(F{}(double{toFloat(H{static_cast<uint16_t>(a >> shift)})},
                            double{toFloat(H{static_cast<uint16_t>(b >> shift)})},
                            double{toFloat(H{static_cast<uint16_t>(c >> shift)})}));
    });
  });
}

/** make(H{}, R{}) for the format and the register of the type. */
template <class F>
Handler forHalf(const Form& form, Type type, F make) {
  switch (type) {
    case Type::f16:
      return make(Half{}, uint16_t{});
    case Type::f16x2:
      return make(Half{}, uint32_t{});
    case Type::bf16:
      return make(Bfloat{}, uint16_t{});
    case Type::bf16x2:
      return make(Bfloat{}, uint32_t{});
    default:
      form.unknown();
  }
}

/** Subnormal halves are kept: f16 arithmetic flushes only where .ftz is written, which is not modelled. */
void finishHalf(Form& form, Handler handler) {
  form.ignore({"rn", "ftz", "approx"});
  form.finish(handler);
}

float power(float x) { return static_cast<float>(approximated(std::exp2(double{x}), x)); }

void exponential(Form& form) {
  form.has("approx");
  const bool flushes = form.has("ftz");
  const Type type = form.type();
  sameTypes(form, type, 1);
  if (type == Type::f32) {
    if (!flushes) return form.finish(unary<float, float>([](float x) { return power(x); }));
    return form.finish(unary<float, float>([](float x) {
      const float result = power(x);
      return result < 0x1p-126f ? 0 : result;
    }));
  }
  form.finish(
      forHalf(form, type, []<class H, class R>(H, R) { return halfOf1<H, R>([](double x) { return std::exp2(x); }); }));
}

void hyperbolicTangent(Form& form) {
  form.has("approx");
  const Type type = form.type();
  sameTypes(form, type, 1);
  if (type == Type::f32) {
    return form.finish(unary<float, float>([](float x) { return static_cast<float>(std::tanh(double{x})); }));
  }
  form.finish(
      forHalf(form, type, []<class H, class R>(H, R) { return halfOf1<H, R>([](double x) { return std::tanh(x); }); }));
}

}  // namespace

void halfBinary(Form& form, Type type, FloatOperation operation) {
  const bool wantsNan = form.has("NaN");
  sameTypes(form, type, 2);
  finishHalf(
      form, forHalf(form, type, [&]<class H, class R>(H, R) -> Handler {
        switch (operation) {
          case FloatOperation::Add:
            return halfOf2<H, R>([](double a, double b) { return a + b; });
          case FloatOperation::Subtract:
            return halfOf2<H, R>([](double a, double b) { return a - b; });
          case FloatOperation::Multiply:
            return halfOf2<H, R>([](double a, double b) { return a * b; });
          case FloatOperation::Minimum:
            if (wantsNan) {
              return halfOf2<H, R>([](double a, double b) { return a != a || b != b ? NAN : bothOrder(a, b, true); });
            }
            return halfOf2<H, R>([](double a, double b) { return bothOrder(a, b, true); });
          case FloatOperation::Maximum:
            if (wantsNan) {
              return halfOf2<H, R>([](double a, double b) { return a != a || b != b ? NAN : bothOrder(a, b, false); });
            }
            return halfOf2<H, R>([](double a, double b) { return bothOrder(a, b, false); });
          default:
            form.unknown();
        }
      }));
}

void halfUnary(Form& form, Type type, FloatOperation operation) {
  sameTypes(form, type, 1);
  const bool negates = operation == FloatOperation::Negate;
  finishHalf(form, forHalf(form, type, [&]<class H, class R>(H, R) -> Handler {
               if (negates) return unary<R, R>([](R a) { return static_cast<R>(a ^ static_cast<R>(0x80008000u)); });
               return unary<R, R>([](R a) { return static_cast<R>(a & static_cast<R>(0x7FFF7FFFu)); });
             }));
}

void halfFma(Form& form, Type type) {
  const bool clampsAtZero = form.has("relu");
  sameTypes(form, type, 3);
  finishHalf(form, forHalf(form, type, [&]<class H, class R>(H, R) -> Handler {
               if (clampsAtZero) {
                 return halfOf3<H, R>([](double a, double b, double c) {
                   const double value = a * b + c;
                   return value < 0 ? 0 : value;
                 });
               }
               return halfOf3<H, R>([](double a, double b, double c) { return a * b + c; });
             }));
}

void addHalfForms(FormTable& table) {
  table["ex2"] = exponential;
  table["tanh"] = hyperbolicTangent;
}

}  // namespace cudasim
