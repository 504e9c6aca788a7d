#include "ptx/types.h"

#include <array>
#include <utility>

namespace cudasim::ptx {

std::optional<Type> typeNamed(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, Type>, 21> names{{
      {"b8", Type::b8},     {"b16", Type::b16},       {"b32", Type::b32},   {"b64", Type::b64}, {"b128", Type::b128},
      {"u8", Type::u8},     {"u16", Type::u16},       {"u32", Type::u32},   {"u64", Type::u64}, {"s8", Type::s8},
      {"s16", Type::s16},   {"s32", Type::s32},       {"s64", Type::s64},   {"f16", Type::f16}, {"f16x2", Type::f16x2},
      {"bf16", Type::bf16}, {"bf16x2", Type::bf16x2}, {"tf32", Type::tf32}, {"f32", Type::f32}, {"f64", Type::f64},
      {"pred", Type::pred},
  }};
  for (const auto& [text, type] : names) {
    if (text == name) return type;
  }
  return std::nullopt;
}

uint32_t sizeOf(Type type) {
  switch (type) {
    case Type::b8:
    case Type::u8:
    case Type::s8:
      return 1;
    case Type::b16:
    case Type::u16:
    case Type::s16:
    case Type::f16:
    case Type::bf16:
      return 2;
    case Type::b64:
    case Type::u64:
    case Type::s64:
    case Type::f64:
      return 8;
    case Type::b128:
      return 16;
    default:
      return 4;
  }
}

bool isSigned(Type type) { return type == Type::s8 || type == Type::s16 || type == Type::s32 || type == Type::s64; }

bool isFloat(Type type) {
  return type == Type::f16 || type == Type::bf16 || type == Type::f32 || type == Type::f64 || type == Type::f16x2 ||
         type == Type::bf16x2;
}

Type bitsOf(uint32_t bytes) {
  switch (bytes) {
    case 1:
      return Type::b8;
    case 2:
      return Type::b16;
    case 8:
      return Type::b64;
    case 16:
      return Type::b128;
    default:
      return Type::b32;
  }
}

}  // namespace cudasim::ptx
