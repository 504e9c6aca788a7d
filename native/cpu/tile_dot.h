// A tile by AVX-512's or Arm's dot products of bf16 pairs: sums[row, lane] += x[row, i + 1] w[i + 1, lane] +
// x[row, i] w[i, lane], pairs ascending; both products of a pair are added inside the instruction.
#pragma once

#include "cpu/ahead.h"
#include "cpu/pack_rows.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

inline constexpr int kDotVectors = 3;
inline constexpr int kDotRows = kLanes == 16 ? 8 : 4;  // 24 of 32 registers hold sums
inline constexpr int kDotPanel = kDotVectors * kLanes;
template <int kRows>
void dot_rows(int inputs, const std::int32_t* x, const Bf16* panel, float* to, bool resume, Ahead& ahead) {
  Ahead ask = ahead;  // in registers
  Floats sums[kRows][kDotVectors];
  TINYLORA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    TINYLORA_UNROLL
    for (int j = 0; j < kDotVectors; ++j) {
      sums[r][j] = resume ? Floats::load(to + r * kDotPanel + j * kLanes) : Floats::zero();
    }
  }
  for (int i = 0; i < inputs; i += 2, x += kRows, panel += 2 * kDotPanel) {
    ask();
    Pairs w[kDotVectors];
    TINYLORA_UNROLL
    for (int j = 0; j < kDotVectors; ++j) w[j] = Pairs::load(panel + 2 * j * kLanes);
    TINYLORA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Pairs b = Pairs::all(x[r]);
      TINYLORA_UNROLL
      for (int j = 0; j < kDotVectors; ++j) sums[r][j] = dot(w[j], b, sums[r][j]);
    }
  }
  ahead = ask;
  TINYLORA_UNROLL
  for (int r = 0; r < kRows; ++r) {
    TINYLORA_UNROLL
    for (int j = 0; j < kDotVectors; ++j) sums[r][j].store(to + r * kDotPanel + j * kLanes);
  }
}

struct DotTile {
  using Element = Bf16;
  static constexpr int kPanel = kDotPanel;
  static constexpr int kBlock = kDotRows;
  static constexpr int kStep = 2;
  static constexpr int kInputsAtOnce = 2048;  // of a panel, in the second-level cache
  static constexpr int kElementBytes = 2;
  static constexpr bool kWholeBlocks = false;
  static constexpr bool kBeside = false;
  static constexpr int kAskFrom = 4;   // rows
  static constexpr int kAhead = 8192;  // bytes
  static constexpr std::size_t kCachedBlocks = 256 * 1024;
  static constexpr std::size_t kCachedPanels = 1024 * 1024;
  struct Scope {};

  static void pack(const PackTask& task) { pack_units<PairUnit>(task); }

  static void run(int rows, int inputs, const std::byte* x_bytes, const std::byte* panel_bytes, float* sums,
                  bool resume, Ahead& ahead) {
    const auto* x = reinterpret_cast<const std::int32_t*>(x_bytes);
    const auto* panel = reinterpret_cast<const Bf16*>(panel_bytes);
    switch (rows) {
      case 1:
        return dot_rows<1>(inputs, x, panel, sums, resume, ahead);
      case 2:
        return dot_rows<2>(inputs, x, panel, sums, resume, ahead);
      case 3:
        return dot_rows<3>(inputs, x, panel, sums, resume, ahead);
      case 4:
        return dot_rows<4>(inputs, x, panel, sums, resume, ahead);
#if defined(__AVX512F__)
      case 5:
        return dot_rows<5>(inputs, x, panel, sums, resume, ahead);
      case 6:
        return dot_rows<6>(inputs, x, panel, sums, resume, ahead);
      case 7:
        return dot_rows<7>(inputs, x, panel, sums, resume, ahead);
      case 8:
        return dot_rows<8>(inputs, x, panel, sums, resume, ahead);
#endif
    }
  }
};

}  // namespace tinylora::TINYLORA_ISA
