// Element types of weights and activations, and the conversions between them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace tinylora {

/// The type in which weights, activations, keys and values are kept. Accumulation is always float.
enum class DType : std::uint8_t { f32, bf16 };

constexpr std::size_t size_of(DType dtype) { return dtype == DType::f32 ? 4 : 2; }
constexpr const char* name_of(DType dtype) { return dtype == DType::f32 ? "fp32" : "bf16"; }

/// A bfloat16 as its bits: the upper half of a float.
struct Bf16 {
  std::uint16_t bits = 0;
};

/// Round to nearest, ties to even; NaN stays a (quiet) NaN.
inline Bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

inline float to_float(Bf16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16); }
inline float to_float(float value) { return value; }

}  // namespace tinylora
