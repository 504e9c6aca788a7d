// A tile by fused multiply-adds in float: fp32 weights, or bf16 weights widened on the way.
//   sums[row, lane] = fma(x[row, i], w[i, lane], sums[row, lane]), i ascending
#pragma once

#include "cpu/ahead.h"
#include "cpu/pack_rows.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

// 24 of 32 registers hold sums on AVX-512 and NEON, 12 of 16 on AVX2; three (NEON: six) hold a step of the weight, one
// the broadcast input.
inline constexpr int kTileVectors = 3;
inline constexpr int kTileRows = kLanes == 16 ? 8 : 4;
inline constexpr int kTilePanel = kTileVectors * kLanes;

/// Inputs of kRows rows, each of which multiplies whole vectors.
template <int kRows>
struct Factors {
  const float* p;
  TINYLORA_INLINE explicit Factors(const float* from) : p(from) {}
  TINYLORA_INLINE float operator[](int row) const { return p[row]; }
};
#if defined(__aarch64__)
/// In one register, whose lanes Arm's multiply-adds take as they are: the sums leave no room for four of them.
template <>
struct Factors<4> {
  float32x4_t v;
  TINYLORA_INLINE explicit Factors(const float* from) : v(vld1q_f32(from)) {}
  TINYLORA_INLINE float operator[](int row) const { return v[row]; }
};
#endif

template <int kRows>
struct Sums {
  Floats v[kRows][kTileVectors];

  TINYLORA_INLINE explicit Sums(const float* from, bool resume) {
    TINYLORA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      TINYLORA_UNROLL
      for (int j = 0; j < kTileVectors; ++j) {
        v[r][j] = resume ? Floats::load(from + r * kTilePanel + j * kLanes) : Floats::zero();
      }
    }
  }
  TINYLORA_INLINE void add(const float* x, const Floats (&w)[kTileVectors]) {
    const Factors<kRows> factors(x);
    TINYLORA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Floats b = Floats::all(factors[r]);
      TINYLORA_UNROLL
      for (int j = 0; j < kTileVectors; ++j) v[r][j] = fma(b, w[j], v[r][j]);
    }
  }
  TINYLORA_INLINE void store(float* to) const {
    TINYLORA_UNROLL
    for (int r = 0; r < kRows; ++r) {
      TINYLORA_UNROLL
      for (int j = 0; j < kTileVectors; ++j) v[r][j].store(to + r * kTilePanel + j * kLanes);
    }
  }
};

/// One input (fp32) or one pair of inputs (bf16) of a panel, as floats.
TINYLORA_INLINE void widen_even(const Bf16* pairs, Floats (&w)[kTileVectors]) {
  TINYLORA_UNROLL
  for (int j = 0; j < kTileVectors; ++j) w[j] = even_of_pairs(pairs + 2 * j * kLanes);
}
TINYLORA_INLINE void widen_odd(const Bf16* pairs, Floats (&w)[kTileVectors]) {
  TINYLORA_UNROLL
  for (int j = 0; j < kTileVectors; ++j) w[j] = odd_of_pairs(pairs + 2 * j * kLanes);
}

template <int kRows>
void tile_rows(int inputs, const float* x, const float* panel, float* to, bool resume, Ahead& ahead) {
  Ahead ask = ahead;
  Sums<kRows> sums(to, resume);
  for (int i = 0; i < inputs; ++i, x += kRows, panel += kTilePanel) {
    ask();
    Floats w[kTileVectors];
    TINYLORA_UNROLL
    for (int j = 0; j < kTileVectors; ++j) w[j] = Floats::load(panel + j * kLanes);
    sums.add(x, w);
  }
  ahead = ask;
  sums.store(to);
}

template <int kRows>
void tile_rows(int inputs, const float* x, const Bf16* panel, float* to, bool resume, Ahead& ahead) {
  Ahead ask = ahead;
  Sums<kRows> sums(to, resume);
  for (int i = 0; i < inputs; i += 2, x += 2 * kRows, panel += 2 * kTilePanel) {
    ask();
    Floats w[kTileVectors];
    widen_even(panel, w);
    sums.add(x, w);
    widen_odd(panel, w);
    sums.add(x + kRows, w);
  }
  ahead = ask;
  sums.store(to);
}

template <class W>
struct FmaTile {
  using Element = W;
  static constexpr int kPanel = kTilePanel;
  static constexpr int kBlock = kTileRows;
  static constexpr int kStep = sizeof(W) == 2 ? 2 : 1;
  static constexpr int kInputsAtOnce = 2048;  // of a panel, in the second-level cache
  static constexpr int kElementBytes = 4;
  static constexpr bool kWholeBlocks = false;
  static constexpr bool kBeside = false;
  static constexpr int kAskFrom = 4;   // rows
  static constexpr int kAhead = 8192;  // bytes
  static constexpr std::size_t kCachedBlocks = 256 * 1024;
  static constexpr std::size_t kCachedPanels = 1024 * 1024;
  struct Scope {};

  static void pack(const PackTask& task) { pack_units<WidenedUnit<W>>(task); }

  static void run(int rows, int inputs, const std::byte* x_bytes, const std::byte* panel_bytes, float* sums,
                  bool resume, Ahead& ahead) {
    const auto* x = reinterpret_cast<const float*>(x_bytes);
    const auto* panel = reinterpret_cast<const W*>(panel_bytes);
    switch (rows) {
      case 1:
        return tile_rows<1>(inputs, x, panel, sums, resume, ahead);
      case 2:
        return tile_rows<2>(inputs, x, panel, sums, resume, ahead);
      case 3:
        return tile_rows<3>(inputs, x, panel, sums, resume, ahead);
      case 4:
        return tile_rows<4>(inputs, x, panel, sums, resume, ahead);
#if defined(__AVX512F__)
      case 5:
        return tile_rows<5>(inputs, x, panel, sums, resume, ahead);
      case 6:
        return tile_rows<6>(inputs, x, panel, sums, resume, ahead);
      case 7:
        return tile_rows<7>(inputs, x, panel, sums, resume, ahead);
      case 8:
        return tile_rows<8>(inputs, x, panel, sums, resume, ahead);
#endif
    }
  }
};

}  // namespace tinylora::TINYLORA_ISA
