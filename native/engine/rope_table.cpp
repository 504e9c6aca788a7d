// frequency[i] = theta^(-2 i / D), then
//   linear   divided by `factor`
//   llama3   wavelengths above original_context / low_freq_factor divided by `factor`, those below
//            original_context / high_freq_factor kept, between the two a blend that is linear in 1 / wavelength
#include "engine/rope_table.h"

#include <cmath>
#include <numbers>

namespace tinylora {
namespace {

double scaled(const ModelConfig& config, double frequency) {
  const auto& scaling = config.rope_scaling;
  if (scaling.type.empty()) return frequency;
  if (scaling.type == "linear") return frequency / scaling.factor;
  const double turns = scaling.original_context * frequency / (2 * std::numbers::pi);  // original_context / wavelength
  if (turns < scaling.low_freq_factor) return frequency / scaling.factor;
  if (turns > scaling.high_freq_factor) return frequency;
  const double share = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - share) * frequency / scaling.factor + share * frequency;
}

}  // namespace

RopeTable rope_table(const ModelConfig& config, int positions) {
  const auto pairs = static_cast<std::size_t>(config.head_dim / 2);
  const std::size_t size = static_cast<std::size_t>(positions) * pairs;
  RopeTable table{std::vector<float>(size), std::vector<float>(size)};
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    const double frequency =
        scaled(config, std::pow(config.rope_theta, -2.0 * static_cast<double>(pair) / config.head_dim));
    for (int position = 0; position < positions; ++position) {
      const double angle = position * frequency;
      const std::size_t index = static_cast<std::size_t>(position) * pairs + pair;
      table.cos[index] = static_cast<float>(std::cos(angle));
      table.sin[index] = static_cast<float>(std::sin(angle));
    }
  }
  return table;
}

}  // namespace tinylora
