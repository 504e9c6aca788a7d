// f16, bf16 and tf32 as bits in memory and numbers in registers.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace cudasim {

struct Half {
  uint16_t bits;
};
struct Bfloat {
  uint16_t bits;
};

inline float toFloat(Half h) { return _cvtsh_ss(h.bits); }
inline float toFloat(Bfloat b) { return std::bit_cast<float>(static_cast<uint32_t>(b.bits) << 16); }

/** Rounded to odd: rounding it again to a shorter format then gives what rounding once would. */
inline float oddFloat(double value) {
  const auto near = static_cast<float>(value);
  if (static_cast<double>(near) == value || !std::isfinite(near) || std::isnan(value)) return near;
  auto bits = std::bit_cast<uint32_t>(near);
  if (std::fabs(static_cast<double>(near)) > std::fabs(value)) --bits;
  return std::bit_cast<float>(bits | 1);
}

template <class T>
T fromFloat(float value);
template <>
inline Half fromFloat<Half>(float value) {
  return value == value ? Half{static_cast<uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT))} : Half{0x7FFF};
}
template <>
inline Bfloat fromFloat<Bfloat>(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  return {static_cast<uint16_t>(value == value ? rounded : 0x7FFF)};
}

inline Half halfTowardZero(float value) {
  return value == value ? Half{static_cast<uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_ZERO))} : Half{0x7FFF};
}
inline Bfloat bfloatTowardZero(float value) {
  return {static_cast<uint16_t>(value == value ? std::bit_cast<uint32_t>(value) >> 16 : 0x7FFF)};
}

/** What a tensor core makes of an f32: the low 13 bits do not count. */
inline float tf32(uint32_t bits) { return std::bit_cast<float>(bits & 0xFFFFE000u); }

}  // namespace cudasim
