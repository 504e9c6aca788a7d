// cvt. A value is loaded as its type from a register of any width, converted, and extended to the destination's width.
#include <array>
#include <cmath>
#include <limits>
#include <mutex>
#include <type_traits>

#include "machine/float_forms.h"
#include "machine/forms.h"
#include "machine/half.h"
#include "machine/handlers.h"

namespace cudasim {
namespace {

template <class T>
constexpr bool kIsHalf = std::is_same_v<T, Half> || std::is_same_v<T, Bfloat>;
template <class T>
constexpr bool kIsReal = std::is_floating_point_v<T> || kIsHalf<T>;

enum class Rounding { Host, Nearest, Zero, Down, Up };

template <Rounding R, class T>
T integral(T value) {
  switch (R) {
    case Rounding::Nearest:
      return std::nearbyint(value);
    case Rounding::Zero:
      return std::trunc(value);
    case Rounding::Down:
      return std::floor(value);
    case Rounding::Up:
      return std::ceil(value);
    default:
      return value;
  }
}

template <class S>
auto number(S value) {
  if constexpr (kIsHalf<S>) {
    return toFloat(value);
  } else {
    return value;
  }
}

template <class D, class S>
D clampInteger(S value) {
  using Limits = std::numeric_limits<D>;
  if constexpr (std::is_floating_point_v<S>) {
    // the largest value below the limit is representable where the limit itself is not
    if (value != value) return sizeof(D) == 8 ? static_cast<D>(uint64_t{1} << 63) : D{0};
    if (value <= static_cast<S>(Limits::min())) return Limits::min();
    if (value >= static_cast<S>(Limits::max())) return Limits::max();
    return static_cast<D>(value);
  } else {
    if (std::is_signed_v<S> && value < S{0}) {
      if constexpr (std::is_unsigned_v<D>) return 0;
      if (static_cast<int64_t>(value) < static_cast<int64_t>(Limits::min())) return Limits::min();
      return static_cast<D>(value);
    }
    return static_cast<uint64_t>(value) > static_cast<uint64_t>(Limits::max()) ? Limits::max() : static_cast<D>(value);
  }
}

template <class D, Rounding R, bool Clamps, class S>
D converted(S source) {
  const auto value = number(source);
  if constexpr (kIsReal<S> && std::is_integral_v<D>) {
    return clampInteger<D>(integral<R>(value));
  } else if constexpr (std::is_integral_v<D>) {
    return Clamps ? clampInteger<D>(value) : static_cast<D>(value);
  } else if constexpr (kIsHalf<D>) {
    float narrow;
    if constexpr (std::is_same_v<decltype(value), const float>) {
      narrow = value;
    } else {
      narrow = oddFloat(static_cast<double>(value));
    }
    narrow = integral < R == Rounding::Host || R == Rounding::Zero ? Rounding::Host : R > (narrow);
    if (Clamps) narrow = narrow > 0 ? std::min(narrow, 1.0f) : 0.0f;
    if constexpr (R == Rounding::Zero) {
      if constexpr (std::is_same_v<D, Half>)
        return halfTowardZero(narrow);
      else
        return bfloatTowardZero(narrow);
    }
    return fromFloat<D>(narrow);
  } else {
    const D wide = static_cast<D>(value);
    return kIsReal<S> ? integral<R>(wide) : wide;
  }
}

/** Every source widens to one of these without loss: integers to 64 bits, floats to double. */
template <class S>
using Carrier = std::conditional_t<kIsReal<S>, double, std::conditional_t<std::is_signed_v<S>, int64_t, uint64_t>>;

template <size_t Bytes>
using Register = std::conditional_t<Bytes == 8, uint64_t, std::conditional_t<Bytes == 4, uint32_t, uint16_t>>;

template <class T, class R>
T fromRegister(R bits) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(bits);
  } else {
    return std::bit_cast<T>(bits);
  }
}

template <class R, class T>
R toRegister(T value) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<R>(static_cast<std::conditional_t<std::is_signed_v<T>, std::make_signed_t<R>, R>>(value));
  } else {
    return std::bit_cast<R>(value);
  }
}

/** The usual conversions, in one step: registers as wide as their types. */
template <class D, class S, Rounding R>
void convertDirectly(Warp& warp, const Instr& instr, uint32_t mask) {
  using From = Register<sizeof(S)>;
  using To = Register<sizeof(D)>;
  const From* from = warp.reg<From>(instr.slots[1]);
  assign<To>(warp, instr.slots[0], mask,
             [=](uint32_t i) { return toRegister<To>(converted<D, R, false>(fromRegister<S>(from[i]))); });
}

Handler direct(Type to, Type from, Rounding rounding, bool clamps) {
  if (clamps) return nullptr;
  const auto is = [&](Type d, Type s, Rounding r) { return to == d && from == s && rounding == r; };
  constexpr Rounding host = Rounding::Host;
  if (is(Type::u64, Type::u32, host)) return convertDirectly<uint64_t, uint32_t, host>;
  if (is(Type::s64, Type::s32, host)) return convertDirectly<int64_t, int32_t, host>;
  if (is(Type::u32, Type::u64, host)) return convertDirectly<uint32_t, uint64_t, host>;
  if (is(Type::u16, Type::u32, host)) return convertDirectly<uint16_t, uint32_t, host>;
  if (is(Type::u32, Type::u16, host)) return convertDirectly<uint32_t, uint16_t, host>;
  if (is(Type::f32, Type::s32, host)) return convertDirectly<float, int32_t, host>;
  if (is(Type::f32, Type::u32, host)) return convertDirectly<float, uint32_t, host>;
  if (is(Type::f32, Type::f16, host)) return convertDirectly<float, Half, host>;
  if (is(Type::f32, Type::bf16, host)) return convertDirectly<float, Bfloat, host>;
  if (is(Type::f16, Type::f32, host)) return convertDirectly<Half, float, host>;
  if (is(Type::bf16, Type::f32, host)) return convertDirectly<Bfloat, float, host>;
  if (is(Type::f64, Type::f32, host)) return convertDirectly<double, float, host>;
  if (is(Type::f32, Type::f64, host)) return convertDirectly<float, double, host>;
  if (is(Type::s32, Type::f32, Rounding::Zero)) return convertDirectly<int32_t, float, Rounding::Zero>;
  if (is(Type::u32, Type::f32, Rounding::Zero)) return convertDirectly<uint32_t, float, Rounding::Zero>;
  if (is(Type::s32, Type::f32, Rounding::Nearest)) return convertDirectly<int32_t, float, Rounding::Nearest>;
  return nullptr;
}

// All others in two steps over a row of carriers: `load` fills it, `store` empties it.
using Load = void (*)(Warp& warp, const Instr& instr, void* carriers);
using Store = void (*)(Warp& warp, const Instr& instr, uint32_t mask, const void* carriers);

template <class S, class R>
void load(Warp& warp, const Instr& instr, void* carriers) {
  const R* from = warp.reg<R>(instr.slots[1]);
  auto* to = static_cast<Carrier<S>*>(carriers);
  for (uint32_t lane = 0; lane < kLanes; ++lane)
    to[lane] = static_cast<Carrier<S>>(number(fromRegister<S>(from[lane])));
}

template <class D, class C, class R, Rounding Mode, bool Clamps>
void store(Warp& warp, const Instr& instr, uint32_t mask, const void* carriers) {
  const auto* from = static_cast<const C*>(carriers);
  assign<R>(warp, instr.slots[0], mask, [=](uint32_t i) { return toRegister<R>(converted<D, Mode, Clamps>(from[i])); });
}

struct Steps {
  Load load = nullptr;
  Store store = nullptr;
};

/** Pairs of steps in use, by Instr::target: few, and kept for good. */
class StepTable {
 public:
  uint32_t add(Steps two) {
    const std::lock_guard guard(lock_);
    for (uint32_t i = 0; i < used_; ++i) {
      if (list_[i].load == two.load && list_[i].store == two.store) return i;
    }
    list_.at(used_) = two;
    return used_++;
  }
  const Steps& operator[](uint32_t i) const { return list_[i]; }

 private:
  std::mutex lock_;
  std::array<Steps, 1024> list_{};
  uint32_t used_ = 0;
};

StepTable stepTable;

/** f(T{}) for the C++ type of any scalar type. */
template <class Result, class F>
Result forScalar(const Form& form, Type type, F f) {
  switch (type) {
    case Type::u8:
    case Type::b8:
      return f(uint8_t{});
    case Type::s8:
      return f(int8_t{});
    case Type::u16:
    case Type::b16:
      return f(uint16_t{});
    case Type::s16:
      return f(int16_t{});
    case Type::u32:
    case Type::b32:
      return f(uint32_t{});
    case Type::s32:
      return f(int32_t{});
    case Type::u64:
    case Type::b64:
      return f(uint64_t{});
    case Type::s64:
      return f(int64_t{});
    case Type::f16:
      return f(Half{});
    case Type::bf16:
      return f(Bfloat{});
    case Type::f32:
      return f(float{});
    case Type::f64:
      return f(double{});
    default:
      form.unknown();
  }
}

/** f(R{}) for a register of that many bytes: integers may live in a wider one. */
template <class Result, class T, class F>
Result forRegister(const Form& form, uint32_t bytes, F f) {
  constexpr size_t own = sizeof(T) < 2 ? 2 : sizeof(T);
  if (bytes == own) return f(Register<own>{});
  if constexpr (std::is_integral_v<T> && own < 4) {
    if (bytes == 4) return f(uint32_t{});
  }
  if constexpr (std::is_integral_v<T> && own < 8) {
    if (bytes == 8) return f(uint64_t{});
  }
  form.unknown("width of a register");
}

template <class D, class C, class R>
Store storeFor(Rounding rounding, bool clamps) {
  const auto pick = [&]<bool Clamps>(std::bool_constant<Clamps>) -> Store {
    if constexpr (std::is_same_v<C, double>) {
      switch (rounding) {
        case Rounding::Nearest:
          return store<D, C, R, Rounding::Nearest, Clamps>;
        case Rounding::Zero:
          return store<D, C, R, Rounding::Zero, Clamps>;
        case Rounding::Down:
          return store<D, C, R, Rounding::Down, Clamps>;
        case Rounding::Up:
          return store<D, C, R, Rounding::Up, Clamps>;
        default:
          break;
      }
    }
    return store<D, C, R, Rounding::Host, Clamps>;
  };
  return clamps ? pick(std::true_type{}) : pick(std::false_type{});
}

void convertInSteps(Warp& warp, const Instr& instr, uint32_t mask) {
  alignas(64) uint64_t carriers[kLanes];
  const Steps& two = stepTable[instr.target];
  two.load(warp, instr, carriers);
  two.store(warp, instr, mask, carriers);
}

/** cvt.rn.bf16x2.f32 d, a, b: a becomes the upper half. */
template <class H, bool TowardZero, bool ClampsAtZero>
void convertPair(Warp& warp, const Instr& instr, uint32_t mask) {
  const float *a = warp.reg<float>(instr.slots[1]), *b = warp.reg<float>(instr.slots[2]);
  const auto half = [](float value) {
    if (ClampsAtZero) value = value < 0 ? 0 : value;
    if constexpr (TowardZero && std::is_same_v<H, Half>)
      return halfTowardZero(value);
    else if constexpr (TowardZero)
      return bfloatTowardZero(value);
    else
      return fromFloat<H>(value);
  };
  assign<uint32_t>(warp, instr.slots[0], mask,
                   [=](uint32_t i) { return uint32_t{half(a[i]).bits} << 16 | half(b[i]).bits; });
}

void pair(Form& form, Type to) {
  const bool towardZero = form.has("rz"), relu = form.has("relu");
  form.has("rn");
  form.define(form.operand(0), Type::b32);
  form.use(form.operand(1), Type::f32);
  form.use(form.operand(2), Type::f32);
  const auto pick = [&]<class H>(H) -> Handler {
    if (towardZero) return relu ? convertPair<H, true, true> : convertPair<H, true, false>;
    return relu ? convertPair<H, false, true> : convertPair<H, false, false>;
  };
  form.finish(to == Type::f16x2 ? pick(Half{}) : pick(Bfloat{}));
}

void toTf32(Form& form) {
  form.has("satfinite");
  const bool away = form.has("rna");
  if (!away) form.unknown("rounding to tf32 other than .rna");
  sameTypes(form, Type::b32, 1);
  form.finish(unary<uint32_t, uint32_t>(
      [](uint32_t bits) { return (bits & 0x7F800000u) == 0x7F800000u ? bits : (bits + 0x1000u) & 0xFFFFE000u; }));
}

void conversion(Form& form) {
  const Type to = form.type(), from = form.type();
  if (to == Type::f16x2 || to == Type::bf16x2) return pair(form, to);
  if (to == Type::tf32) return toTf32(form);
  Rounding rounding = Rounding::Host;
  const bool toInteger = !ptx::isFloat(to);
  if (form.has("rni")) rounding = Rounding::Nearest;
  if (form.has("rzi")) rounding = Rounding::Zero;
  if (form.has("rmi")) rounding = Rounding::Down;
  if (form.has("rpi")) rounding = Rounding::Up;
  if (ptx::sizeOf(to) == 2 && ptx::isFloat(to) && form.has("rz")) rounding = Rounding::Zero;
  if (toInteger && ptx::isFloat(from) && rounding == Rounding::Host) form.unknown("no rounding to an integer");
  const bool clamps = (toInteger || ptx::sizeOf(to) == 2) && form.has("sat");
  const uint32_t toWidth = form.widthOf(form.operand(0), to), fromWidth = form.widthOf(form.operand(1), from);
  form.define(form.operand(0), ptx::bitsOf(toWidth));
  form.use(form.operand(1), ptx::bitsOf(std::max(fromWidth, 2u)));
  form.copies = true;
  Handler handler = nullptr;
  if (toWidth == ptx::sizeOf(to) && fromWidth == ptx::sizeOf(from)) handler = direct(to, from, rounding, clamps);
  if (handler == nullptr) {
    Steps two;
    two.load = forScalar<Load>(form, from, [&]<class S>(S) {
      return forRegister<Load, S>(form, std::max(fromWidth, 2u), []<class R>(R) -> Load { return load<S, R>; });
    });
    two.store = forScalar<Store>(form, to, [&]<class D>(D) {
      return forRegister<Store, D>(form, toWidth, [&]<class R>(R) -> Store {
        if (ptx::isFloat(from)) return storeFor<D, double, R>(rounding, clamps);
        return ptx::isSigned(from) ? storeFor<D, int64_t, R>(rounding, clamps)
                                   : storeFor<D, uint64_t, R>(rounding, clamps);
      });
    });
    form.instr.target = stepTable.add(two);
    handler = convertInSteps;
  }
  finishFloat(form, to == Type::f64 ? Type::f64 : Type::f32, handler);
}

}  // namespace

void addConversionForms(FormTable& table) { table["cvt"] = conversion; }

}  // namespace cudasim
