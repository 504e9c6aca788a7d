// The types that PTX names in its modifiers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace cudasim::ptx {

enum class Type : uint8_t {
  b8,
  b16,
  b32,
  b64,
  b128,
  u8,
  u16,
  u32,
  u64,
  s8,
  s16,
  s32,
  s64,
  f16,
  f16x2,
  bf16,
  bf16x2,
  tf32,
  f32,
  f64,
  pred
};

/** The type that "f32" names, if it names one. */
std::optional<Type> typeNamed(std::string_view name);
/** Bytes of a value of the type; 4 for a predicate. */
uint32_t sizeOf(Type type);
bool isSigned(Type type);
bool isFloat(Type type);
/** u32 of b32 and of s32: what only moves bits need not tell these apart. */
Type bitsOf(uint32_t bytes);

}  // namespace cudasim::ptx
