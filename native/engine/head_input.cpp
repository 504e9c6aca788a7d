#include "engine/head_input.h"

namespace tinylora {

void HeadInput::lay_out(Arena& arena, const Model& model, int capacity) {
  const auto n = static_cast<std::size_t>(capacity);
  const std::size_t numbers = n * static_cast<std::size_t>(model.config.hidden);
  arena.take(rows, n * sizeof(std::int32_t));
  arena.take(x, numbers * sizeof(float));
  arena.take(inv_rms, n * sizeof(float));
  arena.take(normed, numbers * size_of(model.backend->dtype()));
}

void HeadInput::compute(const Model& model, int count, const float* stream) const {
  model.backend->gather_rows({.count = count, .width = model.config.hidden, .rows = rows, .x = stream, .y = x});
  model.backend->rms_norm({.rows = count,
                           .width = model.config.hidden,
                           .epsilon = model.config.rms_norm_epsilon,
                           .x = x,
                           .gain = floats(model.final_norm),
                           .y = normed,
                           .inv_rms = inv_rms});
}

}  // namespace tinylora
