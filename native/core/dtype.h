// Element types of weights and activations, and the conversions between them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace tinylora {

/// The type in which weights, activations, keys and values are kept. Accumulation is always float.
enum class DType : std::uint8_t { f32, bf16, f16 };

constexpr std::size_t size_of(DType dtype) { return dtype == DType::f32 ? 4 : 2; }
constexpr const char* name_of(DType dtype) {
  return dtype == DType::f32 ? "fp32" : dtype == DType::bf16 ? "bf16" : "fp16";
}

/// A bfloat16 as its bits: the upper half of a float. Not initialised by itself, as a float is not: kernels keep arrays
/// of it on the stack, which would all be set to zero first.
struct Bf16 {
  std::uint16_t bits;
};

/// Round to nearest, ties to even; NaN stays a (quiet) NaN.
inline Bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

inline float to_float(Bf16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16); }
inline float to_float(float value) { return value; }

/// An IEEE half-precision number as its bits: 5 of exponent, 10 of mantissa.
struct F16 {
  std::uint16_t bits;
};

/// Round to nearest, ties to even; from 65520 on to infinity; NaN stays a (quiet) NaN.
inline F16 to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return {static_cast<std::uint16_t>(sign | 0x7e00U)};
  if (magnitude >= 0x477ff000U) return {static_cast<std::uint16_t>(sign | 0x7c00U)};
  if (magnitude < 0x38800000U) {  // below 2^-14 the step is 2^-24: float's own addition rounds to it
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return {static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000U))};
  }
  const std::uint32_t rounded = magnitude + 0xfffU + (magnitude >> 13 & 1U);
  return {static_cast<std::uint16_t>(sign | (rounded - 0x38000000U) >> 13)};
}

/// Exact, subnormals included: the product moves the exponent to float's bias, and normalises a subnormal.
inline float to_float(F16 value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16;
  const std::uint32_t magnitude = static_cast<std::uint32_t>(value.bits & 0x7fffU) << 13;
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p112F;
  const std::uint32_t bits = scaled < 65536.0F ? std::bit_cast<std::uint32_t>(scaled) : magnitude | 0x7f800000U;
  return std::bit_cast<float>(sign | bits);
}

/// The number that is left when `value` is stored in the dtype.
inline float rounded(float value, DType dtype) {
  return dtype == DType::f32 ? value : dtype == DType::bf16 ? to_float(to_bf16(value)) : to_float(to_f16(value));
}

}  // namespace tinylora
