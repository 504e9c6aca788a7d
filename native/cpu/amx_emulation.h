// The AMX tile instructions in plain C++, for tests on machines that lack them: eight tiles of 16 rows of 64 bytes.
// TDPBF16PS sums the first and the second inputs of the pairs apart, 16 of each, every product rounded once, and adds
// the two sums together and then to the tile; it flushes denormals, which this does not.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>

#include "core/dtype.h"

namespace tinylora::amx {

struct Tile {
  alignas(64) unsigned char row[16][64];
};

namespace {  // every file that emulates has its own

thread_local Tile tiles[8];

inline void written() {}
inline void load_config() { std::memset(static_cast<void*>(tiles), 0, sizeof tiles); }
inline void release() {}

inline void load(int tile, const void* from, std::size_t stride) {
  for (std::size_t r = 0; r < 16; ++r) {
    std::memcpy(tiles[tile].row[r], static_cast<const unsigned char*>(from) + r * stride, 64);
  }
}
inline void store(int tile, void* to, std::size_t stride) {
  for (std::size_t r = 0; r < 16; ++r) {
    std::memcpy(static_cast<unsigned char*>(to) + r * stride, tiles[tile].row[r], 64);
  }
}
inline void zero(int tile) { tiles[tile] = {}; }

inline void dot(int sums, int a, int b) {
  for (int m = 0; m < 16; ++m) {
    float c[16];
    float even[16] = {};
    float odd[16] = {};
    Bf16 x[32];
    std::memcpy(c, tiles[sums].row[m], 64);
    std::memcpy(x, tiles[a].row[m], 64);
    for (int k = 0; k < 16; ++k) {
      Bf16 w[32];
      std::memcpy(w, tiles[b].row[k], 64);
      for (int n = 0; n < 16; ++n) {
        even[n] = std::fma(to_float(x[2 * k]), to_float(w[2 * n]), even[n]);
        odd[n] = std::fma(to_float(x[2 * k + 1]), to_float(w[2 * n + 1]), odd[n]);
      }
    }
    for (int n = 0; n < 16; ++n) c[n] += even[n] + odd[n];
    std::memcpy(tiles[sums].row[m], c, 64);
  }
}

}  // namespace

#define TINYLORA_TILE_LOAD(tile, from, stride) ::tinylora::amx::load(tile, from, stride)
#define TINYLORA_TILE_STREAM(tile, from, stride) ::tinylora::amx::load(tile, from, stride)
#define TINYLORA_TILE_STORE(tile, to, stride) ::tinylora::amx::store(tile, to, stride)
#define TINYLORA_TILE_ZERO(tile) ::tinylora::amx::zero(tile)
#define TINYLORA_TILE_DOT(sums, a, b) ::tinylora::amx::dot(sums, a, b)

}  // namespace tinylora::amx
