// The tile instructions under names of our own, so that amx_emulation.h can stand in for them.
#pragma once

#if defined(TINYLORA_EMULATE_AMX)
#include "cpu/amx_emulation.h"
#else

#include <immintrin.h>

namespace tinylora::amx {

struct Config {
  alignas(64) unsigned char palette = 1;
  unsigned char start_row = 0;
  unsigned char reserved[14] = {};
  unsigned short bytes_a_row[16] = {};
  unsigned char rows[16] = {};
};

// Functions cannot pass a tile's number on: the instructions have it built in.
#define TINYLORA_TILE_LOAD(tile, from, stride) _tile_loadd(tile, from, stride)
#define TINYLORA_TILE_STORE(tile, to, stride) _tile_stored(tile, to, stride)
#define TINYLORA_TILE_ZERO(tile) _tile_zero(tile)
#define TINYLORA_TILE_DOT(sums, a, b) _tile_dpbf16ps(sums, a, b)

inline void load_config(const Config& config) { _tile_loadconfig(&config); }
inline void release() { _tile_release(); }

}  // namespace tinylora::amx

#endif
