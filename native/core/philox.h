// Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3"): a random number is a function of its
// key and counter, never of history, so every draw can be repeated on any machine, in any order.
#pragma once

#include <array>
#include <cstdint>

namespace tinylora {

using PhiloxBlock = std::array<std::uint32_t, 4>;

constexpr PhiloxBlock philox(std::uint64_t key, PhiloxBlock counter) {
  std::uint32_t key0 = static_cast<std::uint32_t>(key);
  std::uint32_t key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<std::uint32_t>(product0)};
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return counter;
}

/// A uniform double in (0, 1): the upper 52 bits of two words, at the middle of their interval, which a double holds
/// exactly (of 53 bits the last middle would round to 1).
constexpr double philox_uniform(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = ((std::uint64_t{high} << 32) | low) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1.0p-52;
}

/// The uniform that draws the token at `position` of `sequence`.
constexpr double sampling_uniform(std::uint64_t seed, std::uint64_t sequence, std::uint32_t position) {
  const PhiloxBlock block = philox(seed, {position, 0x73616d70U /* "samp" */, static_cast<std::uint32_t>(sequence),
                                          static_cast<std::uint32_t>(sequence >> 32)});
  return philox_uniform(block[0], block[1]);
}

}  // namespace tinylora
