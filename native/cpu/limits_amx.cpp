#include "cpu/limit_loops.h"
#include "cpu/tile_amx.h"

namespace tinylora {
namespace isa_amx {

/// Four tiles of sums, as in the product: 16 x 16 sums of 32 products an instruction.
inline double bf16_limit(std::int64_t rounds) {
  const AmxTile::Scope scope;  // leaves all tiles zero
  for (std::int64_t i = 0; i < rounds; ++i) {
    TINYLORA_TILE_DOT(0, 4, 6);
    TINYLORA_TILE_DOT(1, 4, 7);
    TINYLORA_TILE_DOT(2, 5, 6);
    TINYLORA_TILE_DOT(3, 5, 7);
  }
  return static_cast<double>(rounds) * 4 * 16 * 16 * 32 * 2;
}

}  // namespace isa_amx

constinit const LimitKernels kLimitsAmx = {isa_amx::fp32_limit, isa_amx::bf16_limit, isa_amx::read_limit};
}  // namespace tinylora
