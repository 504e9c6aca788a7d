// Products of 16 rows and 8 columns as tensor cores take them, and what all instructions of whole warps check.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "machine/fault.h"
#include "machine/half.h"
#include "machine/rounding.h"
#include "machine/warp.h"

namespace cudasim {

inline void wholeWarp(const Warp& warp, uint32_t mask) {
  if (mask == kAllLanes) return;
  const int lane = mask == 0 ? -1 : __builtin_ctz(mask);
  throw Fault{FaultKind::Synchronisation,
              "a matrix operation that only lanes " + hex(mask) + " of " + hex(warp.started) + " reach", lane};
}

/** Waits for the whole warp; false when it must. */
inline bool allHere(Warp& warp, const Instr& instr, uint32_t mask) {
  if (mask == kAllLanes) return true;
  if (mask == warp.mask && (mask | ~warp.live) != kAllLanes) {
    warp.waitForLanes(instr);
    return false;
  }
  wholeWarp(warp, mask);
  return false;
}

/** Eight columns of one row as one vector of the host. */
using Row = float __attribute__((vector_size(32)));

template <uint32_t K>
struct Tile {
  alignas(64) float a[16][K];
  Row b[K];
  Row c[16];
};

/** What a number's leading bit stands for, as a power of two; far below all where it is 0. */
inline int exponentOf(float value) {
  const auto field = static_cast<int>(std::bit_cast<uint32_t>(value) >> 23 & 0xFF);
  return value == 0 ? -1000 : (field == 0 ? 1 : field) - 127;
}

/** One sum and `count` products, a[i] b[i][column], as Rounding says. */
inline float addTogether(const float* a, const Row* b, uint32_t column, uint32_t count, float sum) {
  int largest = exponentOf(sum);
  double plain = sum;
  for (uint32_t i = 0; i < count; ++i) {
    largest = std::max(largest, exponentOf(a[i]) + exponentOf(b[i][column]));
    plain += static_cast<double>(a[i]) * b[i][column];
  }
  if (!std::isfinite(plain) || largest < -500) return static_cast<float>(plain);
  const int last = largest - 23 - rounding.extraBits;  // power of two of the last bit that is kept
  const double scale = std::bit_cast<double>(static_cast<uint64_t>(1023 - last) << 52);
  double total = std::trunc(sum * scale);
  for (uint32_t i = 0; i < count; ++i) total += std::trunc(static_cast<double>(a[i]) * b[i][column] * scale);
  return towardZero(total * std::bit_cast<double>(static_cast<uint64_t>(1023 + last) << 52));
}

template <uint32_t K>
void multiplyTogether(Tile<K>& tile) {
  const uint32_t together = std::min(K, rounding.together);
  for (uint32_t row = 0; row < 16; ++row) {
    for (uint32_t column = 0; column < 8; ++column) {
      float sum = tile.c[row][column];
      for (uint32_t k = 0; k < K; k += together) {
        sum = addTogether(tile.a[row] + k, tile.b + k, column, together, sum);
      }
      tile.c[row][column] = sum;
    }
  }
}

template <uint32_t K>
void multiply(Tile<K>& tile) {
  if (rounding.together != 0) return multiplyTogether(tile);
  for (uint32_t row = 0; row < 16; row += 8) {  // eight rows at once hide the latency of the sums
    Row sum[8];
    for (uint32_t r = 0; r < 8; ++r) sum[r] = tile.c[row + r];
#pragma GCC unroll 4
    for (uint32_t k = 0; k < K; ++k) {
#pragma GCC unroll 8
      for (uint32_t r = 0; r < 8; ++r) {
        const __m256 vector = _mm256_broadcast_ss(&tile.a[row + r][k]);
        sum[r] = reinterpret_cast<Row>(
            _mm256_fmadd_ps(vector, reinterpret_cast<__m256>(tile.b[k]), reinterpret_cast<__m256>(sum[r])));
      }
    }
    for (uint32_t r = 0; r < 8; ++r) tile.c[row + r] = sum[r];
  }
}

// Lanes 4g to 4g + 3 of a pair of registers of C hold row g, even columns in one and odd ones in the other.

template <uint32_t K>
void loadSums(Warp& warp, const Slot* c, Tile<K>& tile) {
  for (uint32_t half = 0; half < 2; ++half) {
    const float *even = warp.reg<float>(c[2 * half]), *odd = warp.reg<float>(c[2 * half + 1]);
    for (uint32_t g = 0; g < 8; ++g) {
      const __m128 e = _mm_load_ps(even + 4 * g), o = _mm_load_ps(odd + 4 * g);
      const __m256 row = _mm256_set_m128(_mm_unpackhi_ps(e, o), _mm_unpacklo_ps(e, o));
      tile.c[8 * half + g] = reinterpret_cast<Row>(row);
    }
  }
}

template <uint32_t K>
void storeSums(Warp& warp, const Slot* d, const Tile<K>& tile) {
  for (uint32_t half = 0; half < 2; ++half) {
    float *even = warp.reg<float>(d[2 * half]), *odd = warp.reg<float>(d[2 * half + 1]);
    for (uint32_t g = 0; g < 8; ++g) {
      const auto row = reinterpret_cast<__m256>(tile.c[8 * half + g]);
      const __m128 low = _mm256_castps256_ps128(row), high = _mm256_extractf128_ps(row, 1);
      _mm_store_ps(even + 4 * g, _mm_shuffle_ps(low, high, 0x88));
      _mm_store_ps(odd + 4 * g, _mm_shuffle_ps(low, high, 0xDD));
    }
  }
}

/** Eight 16-bit numbers, as lanes 4g to 4g + 3 hold them side by side. */
template <class H>
__m256 widen(const uint32_t* from) {
  const __m128i halves = _mm_load_si128(reinterpret_cast<const __m128i*>(from));
  if constexpr (std::is_same_v<H, Half>) return _mm256_cvtph_ps(halves);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

inline void transpose(__m256 (&rows)[8]) {
  __m256 pairs[8], quads[8];
  for (uint32_t i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  for (uint32_t i = 0; i < 8; i += 4) {
    quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
    quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
  }
  for (uint32_t i = 0; i < 4; ++i) {
    rows[i] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
  }
}

}  // namespace cudasim
