#include "engine/fingerprint.h"

#include <array>
#include <bit>
#include <cstdio>
#include <cstring>

namespace tinylora {
namespace {

constexpr std::uint64_t kMultiplier = 0x9E3779B97F4A7C15U;

/// One step: a product spreads the word upwards, the rotation brings the upper bits down for the next one.
std::uint64_t mix(std::uint64_t hash, std::uint64_t word) { return std::rotl((hash ^ word) * kMultiplier, 29); }

/// Every bit of the result depends on every bit of the hash (the finaliser of MurmurHash3).
std::uint64_t finish(std::uint64_t hash) {
  hash = (hash ^ (hash >> 33)) * 0xFF51AFD7ED558CCDU;
  hash = (hash ^ (hash >> 33)) * 0xC4CEB9FE1A85EC53U;
  return hash ^ (hash >> 33);
}

}  // namespace

std::uint64_t Fingerprint::hash_name(const std::string& name) {
  std::uint64_t hash = name.size();
  for (const char letter : name) hash = mix(hash, static_cast<unsigned char>(letter));
  return finish(hash);
}

Fingerprint::Fingerprint(const ModelConfig& config) {
  // The context length is left out: it limits the use of the model and does not change what it computes. %a writes a
  // double exactly.
  const auto& scaling = config.rope_scaling;
  std::array<char, 512> text{};
  std::snprintf(text.data(), text.size(), "%s %d %d %d %d %d %d %d %a %d %a %s %a %a %a %d", config.family.c_str(),
                config.vocab, config.hidden, config.intermediate, config.layers, config.heads, config.kv_heads,
                config.head_dim, static_cast<double>(config.rms_norm_epsilon), config.tied_embeddings ? 1 : 0,
                config.rope_theta, scaling.type.c_str(), scaling.factor, scaling.low_freq_factor,
                scaling.high_freq_factor, scaling.original_context);
  std::string all = text.data();
  if (scaling.type == "yarn") {
    std::snprintf(text.data(), text.size(), " %a %a %a %d", scaling.beta_fast, scaling.beta_slow,
                  scaling.attention_factor, scaling.truncate ? 1 : 0);
    all += text.data();
  }
  sum_ = hash_name(all);
}

void Fingerprint::add_row(std::uint64_t tensor, int row, std::span<const float> values) {
  // Four chains side by side, two floats a word: a chain alone would wait for its own products.
  std::array<std::uint64_t, 4> chains{};
  for (std::size_t lane = 0; lane < 4; ++lane) {
    chains[lane] = mix(tensor + lane, (static_cast<std::uint64_t>(row) << 32) + values.size());
  }
  std::size_t i = 0;
  for (; i + 8 <= values.size(); i += 8) {
    std::array<std::uint64_t, 4> words;
    std::memcpy(words.data(), values.data() + i, sizeof(words));
    for (std::size_t lane = 0; lane < 4; ++lane) chains[lane] = mix(chains[lane], words[lane]);
  }
  for (; i < values.size(); ++i) chains[i % 4] = mix(chains[i % 4], std::bit_cast<std::uint32_t>(values[i]));
  std::uint64_t hash = 0;
  for (const std::uint64_t chain : chains) hash = mix(hash, finish(chain));
  sum_.fetch_add(finish(hash), std::memory_order_relaxed);
}

std::string Fingerprint::text() const {
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(sum_.load()));
  return digits.data();
}

}  // namespace tinylora
