// Philox 4x32-10 and the uniform that draws a token, as core/philox.h has them.
#pragma once

#include <cstdint>

namespace tinylora::cuda {

/// The uniform in (0, 1) that draws the token at `position` of `sequence`.
__device__ inline double sampling_uniform(std::uint64_t seed, std::uint64_t sequence, std::uint32_t position) {
  std::uint32_t key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
  std::uint32_t c0 = position, c1 = 0x73616d70U /* "samp" */, c2 = static_cast<std::uint32_t>(sequence),
                c3 = static_cast<std::uint32_t>(sequence >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * c0;
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * c2;
    c0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ key0;
    c1 = static_cast<std::uint32_t>(product1);
    c2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ key1;
    c3 = static_cast<std::uint32_t>(product0);
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  const std::uint64_t bits = ((std::uint64_t{c0} << 32) | c1) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1.0p-52;
}

}  // namespace tinylora::cuda
