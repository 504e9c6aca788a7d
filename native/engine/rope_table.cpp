// frequency[i] = theta^(-2 i / D), then
//   linear   divided by `factor`
//   llama3   wavelengths above original_context / low_freq_factor divided by `factor`, those below
//            original_context / high_freq_factor kept, between the two a blend that is linear in 1 / wavelength
//   yarn     kept in pairs that turn more than beta_fast times within original_context, divided by `factor` where
//            they turn less than beta_slow times, between the two a blend that is linear in i; cos and sin are
//            multiplied by attention_factor
#include "engine/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tinylora {
namespace {

double llama3_frequency(const ModelConfig& config, double frequency) {
  const auto& scaling = config.rope_scaling;
  const double turns = scaling.original_context * frequency / (2 * std::numbers::pi);  // original_context / wavelength
  if (turns < scaling.low_freq_factor) return frequency / scaling.factor;
  if (turns > scaling.high_freq_factor) return frequency;
  const double share = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - share) * frequency / scaling.factor + share * frequency;
}

/// The index, as a real number, of the pair that turns `turns` times within original_context.
double pair_of_turns(const ModelConfig& config, double turns) {
  const double wavelength = config.rope_scaling.original_context / turns;
  return config.head_dim * std::log(wavelength / (2 * std::numbers::pi)) / (2 * std::log(config.rope_theta));
}

/// As in transformers: the index of the last pair that is kept, rounded down with `truncate`, is at least 0; that of
/// the first pair that is divided, rounded up, is at most D - 1.
double yarn_frequency(const ModelConfig& config, double pair, double frequency) {
  const auto& scaling = config.rope_scaling;
  double kept = pair_of_turns(config, scaling.beta_fast);
  double divided = pair_of_turns(config, scaling.beta_slow);
  if (scaling.truncate) kept = std::floor(kept), divided = std::ceil(divided);
  kept = std::max(kept, 0.0);
  divided = std::min(divided, config.head_dim - 1.0);
  if (kept == divided) divided += 0.001;
  const double share = std::clamp((pair - kept) / (divided - kept), 0.0, 1.0);
  return share * frequency / scaling.factor + (1 - share) * frequency;
}

double scaled(const ModelConfig& config, double pair, double frequency) {
  const auto& scaling = config.rope_scaling;
  if (scaling.type == "linear") return frequency / scaling.factor;
  if (scaling.type == "llama3") return llama3_frequency(config, frequency);
  if (scaling.type == "yarn") return yarn_frequency(config, pair, frequency);
  return frequency;
}

}  // namespace

RopeTable rope_table(const ModelConfig& config, int positions) {
  const auto pairs = static_cast<std::size_t>(config.head_dim / 2);
  const std::size_t size = static_cast<std::size_t>(positions) * pairs;
  const double amplitude = config.rope_scaling.attention_factor;
  RopeTable table{std::vector<float>(size), std::vector<float>(size)};
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    const auto place = static_cast<double>(pair);
    const double frequency = scaled(config, place, std::pow(config.rope_theta, -2 * place / config.head_dim));
    for (int position = 0; position < positions; ++position) {
      const double angle = position * frequency;
      const std::size_t index = static_cast<std::size_t>(position) * pairs + pair;
      table.cos[index] = static_cast<float>(amplitude * std::cos(angle));
      table.sin[index] = static_cast<float>(amplitude * std::sin(angle));
    }
  }
  return table;
}

}  // namespace tinylora
