// The tile instructions under names of our own, so that amx_emulation.h can stand in for them.
#pragma once

#if defined(TINYLORA_EMULATE_AMX)
#include "cpu/amx_emulation.h"
#else

#include "cpu/simd.h"

namespace tinylora::amx {

/// What LDTILECFG reads: eight tiles of 16 rows of 64 bytes.
struct Config {
  unsigned char palette = 1;
  unsigned char start_row = 0;
  unsigned char reserved[14] = {};
  unsigned short bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(Config) == 64);

// Macros, since the number of a tile is a part of the instruction: it must be a literal, which no argument of a
// function is.
#define TINYLORA_TILE_LOAD(tile, from, stride) _tile_loadd(tile, from, stride)
#define TINYLORA_TILE_STREAM(tile, from, stride) _tile_stream_loadd(tile, from, stride)
#define TINYLORA_TILE_STORE(tile, to, stride) _tile_stored(tile, to, stride)
#define TINYLORA_TILE_ZERO(tile) _tile_zero(tile)
#define TINYLORA_TILE_DOT(sums, a, b) _tile_dpbf16ps(sums, a, b)

/// To be called after an array was written and before a tile is loaded from it: the compiler then keeps those stores,
/// and keeps them in front. GCC's intrinsics do not declare the memory that they read (GCC 12: of the configuration
/// eight bytes, of a tile nothing), so it would take the array for unused. They do declare that storing a tile writes
/// to memory: what is read after that, and what is written after loads that it follows, needs no call.
inline void written() { __asm__ volatile("" ::: "memory"); }

inline void load_config() {
  alignas(64) static constexpr Config kConfig;
  written();
  _tile_loadconfig(&kConfig);
}
inline void release() { _tile_release(); }

}  // namespace tinylora::amx

#endif

namespace tinylora::amx {

inline constexpr int kRows = 16;    // of a tile; a row is as many floats, or as many pairs of bf16
inline constexpr int kInputs = 32;  // bf16 of a row: what one dot sums over

namespace {  // every file has its own: some emulate

/// The tile registers are set up for as long as it lives.
struct Scope {
  Scope() { load_config(); }
  ~Scope() { release(); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
};

}  // namespace
}  // namespace tinylora::amx
