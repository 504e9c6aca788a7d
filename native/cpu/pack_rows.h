// Rows of activations into the order in which a tile reads them: packed[unit, row], a unit being what one broadcast
// takes (one float, or a pair of bf16). Inputs beyond the last are zeros.
#pragma once

#include "cpu/product_kernels.h"
#include "cpu/words.h"

namespace tinylora::TINYLORA_ISA {

/// A unit is one input, kept as a float.
template <class In>
struct WidenedUnit;

template <>
struct WidenedUnit<float> {
  using Element = float;
  static constexpr int kInputs = 1;
  TINYLORA_INLINE static Words four(const float* p) { return load_words(p); }
  TINYLORA_INLINE static std::uint32_t one(const float* p, int) { return __builtin_bit_cast(std::uint32_t, *p); }
};

template <>
struct WidenedUnit<Bf16> {
  using Element = Bf16;
  static constexpr int kInputs = 1;
  TINYLORA_INLINE static Words four(const Bf16* p) { return widen_words(p); }
  TINYLORA_INLINE static std::uint32_t one(const Bf16* p, int) { return std::uint32_t{p->bits} << 16; }
};

/// A unit is two inputs in bf16, the first one below; the last one may have a single input.
struct PairUnit {
  using Element = Bf16;
  static constexpr int kInputs = 2;
  TINYLORA_INLINE static Words four(const Bf16* p) { return load_words(p); }
  TINYLORA_INLINE static std::uint32_t one(const Bf16* p, int left) {
    return p[0].bits | (left > 1 ? std::uint32_t{p[1].bits} << 16 : 0U);
  }
};

template <class Unit>
void pack_units(const PackTask& task) {
  const auto* x = static_cast<const typename Unit::Element*>(task.x);
  auto* packed = static_cast<std::uint32_t*>(task.packed);
  const int rows = task.rows;
  const int whole = task.in / Unit::kInputs / 4 * 4;  // units that are read by fours
  const int units = task.padded_in / Unit::kInputs;
  int row = 0;
  for (; row + 4 <= rows; row += 4) {
    const auto* from = x + std::ptrdiff_t{row} * task.in;
    for (int unit = 0; unit < whole; unit += 4) {
      Words four[4];
      for (int r = 0; r < 4; ++r) four[r] = Unit::four(from + std::ptrdiff_t{r} * task.in + unit * Unit::kInputs);
      store_transposed(four, packed + unit * rows + row, rows);
    }
  }
  for (int r = 0; r < rows; ++r) {
    const auto* from = x + std::ptrdiff_t{r} * task.in;
    for (int unit = r < row ? whole : 0; unit < units; ++unit) {
      const int left = task.in - unit * Unit::kInputs;
      packed[unit * rows + r] = left > 0 ? Unit::one(from + unit * Unit::kInputs, left) : 0U;
    }
  }
}

}  // namespace tinylora::TINYLORA_ISA
