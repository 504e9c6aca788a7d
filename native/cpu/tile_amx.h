// A tile by AMX: 32 rows by 32 outputs in four tile registers, 32 inputs a step. The weight's panel is read as it lies
// (a row of a B tile is one pair of inputs of 16 outputs); rows of x are packed by steps of 32 inputs, 64 bytes a row.
// The panel stays in the first-level cache for all blocks. Loads of x leave no lines there: they come from the second
// level, which gives a step's 2 KB in half the time that its dot products take.
#pragma once

#include <cstring>

#include "cpu/amx_tiles.h"
#include "cpu/product_kernels.h"
#include "cpu/simd.h"

namespace tinylora::TINYLORA_ISA {

struct AmxTile {
  using Element = Bf16;
  static constexpr int kPanel = 32;
  static constexpr int kBlock = 32;
  static constexpr int kStep = 32;
  static constexpr int kInputsAtOnce = 640;  // 40 KB of a panel, in the first-level cache
  static constexpr int kElementBytes = 2;
  static constexpr bool kWholeBlocks = true;
  static constexpr bool kBeside = true;  // the vector units are free while tiles are multiplied
  static constexpr int kAskFrom = 17;    // rows: one tile of 16 is read fast enough
  static constexpr int kAhead = 0;       // bytes: one block, too, asks for the panel after
  static constexpr std::size_t kCachedBlocks = 800 * 1024;
  static constexpr std::size_t kCachedPanels = std::size_t{1} << 30;  // no limit: they are asked for ahead

  using Scope = amx::Scope;

  /// packed[i / 32][row][i % 32]; rows that the block lacks are zeros up to a whole tile of 16.
  static void pack(const PackTask& task) {
    const auto* x = static_cast<const Bf16*>(task.x);
    auto* packed = static_cast<Bf16*>(task.packed);
    const int whole = task.in / kStep * kStep;
    for (int m = 0; m < task.rows; ++m, x += task.in) {
      Bf16* to = packed + m * kStep;
      for (int i = 0; i < whole; i += kStep, to += kBlock * kStep) std::memcpy(to, x + i, kRow);
      if (whole < task.padded_in) {
        std::memset(to, 0, kRow);
        std::memcpy(to, x + whole, std::size_t(task.in - whole) * sizeof(Bf16));
      }
    }
    const int missing = (task.rows <= 16 ? 16 : kBlock) - task.rows;
    for (int i = 0; i < task.padded_in; i += kStep, packed += kBlock * kStep) {
      std::memset(packed + task.rows * kStep, 0, std::size_t(missing) * kRow);
    }
  }

  /// beside() is called once a step.
  template <class Beside>
  static void run(int rows, int inputs, const std::byte* x, const std::byte* panel, float* sums, bool resume,
                  Beside& beside) {
    if (rows <= 16) {
      run_16(inputs, x, panel, sums, resume, beside);
    } else {
      run_32(inputs, x, panel, sums, resume, beside);
    }
  }

 private:
  static constexpr std::size_t kRow = 64;               // bytes of a row of a tile of x
  static constexpr std::size_t kPair = kPanel * 4;      // bytes of a pair of inputs of a panel
  static constexpr std::size_t kSums = kPanel * 4;      // bytes of a row of sums
  static constexpr std::size_t kXStep = kBlock * kRow;  // bytes of 32 inputs of a block, of a panel
  static constexpr std::size_t kWStep = kStep / 2 * kPair;

  template <class Beside>
  static void run_16(int inputs, const std::byte* x, const std::byte* panel, float* sums, bool resume, Beside& beside) {
    if (resume) {
      TINYLORA_TILE_LOAD(0, sums, kSums);
      TINYLORA_TILE_LOAD(1, sums + 16, kSums);
    } else {
      TINYLORA_TILE_ZERO(0);
      TINYLORA_TILE_ZERO(1);
    }
    for (int i = 0; i < inputs; i += kStep, x += kXStep, panel += kWStep) {
      TINYLORA_TILE_STREAM(4, x, kRow);
      TINYLORA_TILE_LOAD(6, panel, kPair);
      TINYLORA_TILE_LOAD(7, panel + 64, kPair);
      TINYLORA_TILE_DOT(0, 4, 6);
      TINYLORA_TILE_DOT(1, 4, 7);
      beside();
    }
    TINYLORA_TILE_STORE(0, sums, kSums);
    TINYLORA_TILE_STORE(1, sums + 16, kSums);
  }

  template <class Beside>
  static void run_32(int inputs, const std::byte* x, const std::byte* panel, float* sums, bool resume, Beside& beside) {
    float* lower = sums + 16 * kPanel;
    if (resume) {
      TINYLORA_TILE_LOAD(0, sums, kSums);
      TINYLORA_TILE_LOAD(1, sums + 16, kSums);
      TINYLORA_TILE_LOAD(2, lower, kSums);
      TINYLORA_TILE_LOAD(3, lower + 16, kSums);
    } else {
      TINYLORA_TILE_ZERO(0);
      TINYLORA_TILE_ZERO(1);
      TINYLORA_TILE_ZERO(2);
      TINYLORA_TILE_ZERO(3);
    }
    for (int i = 0; i < inputs; i += kStep, x += kXStep, panel += kWStep) {
      TINYLORA_TILE_STREAM(4, x, kRow);
      TINYLORA_TILE_STREAM(5, x + 16 * kRow, kRow);
      TINYLORA_TILE_LOAD(6, panel, kPair);
      TINYLORA_TILE_LOAD(7, panel + 64, kPair);
      TINYLORA_TILE_DOT(0, 4, 6);
      TINYLORA_TILE_DOT(1, 4, 7);
      TINYLORA_TILE_DOT(2, 5, 6);
      TINYLORA_TILE_DOT(3, 5, 7);
      beside();
    }
    TINYLORA_TILE_STORE(0, sums, kSums);
    TINYLORA_TILE_STORE(1, sums + 16, kSums);
    TINYLORA_TILE_STORE(2, lower, kSums);
    TINYLORA_TILE_STORE(3, lower + 16, kSums);
  }
};

}  // namespace tinylora::TINYLORA_ISA
