#include "engine/head_pass.h"

namespace tinylora {
namespace {

template <typename T>
void upload(Backend& backend, T* to, const std::vector<T>& values) {
  backend.upload(to, values.data(), values.size() * sizeof(T));
}

std::vector<float> download(Backend& backend, const float* from, int count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  backend.download(values.data(), from, values.size() * sizeof(float));
  return values;
}

}  // namespace

HeadPass::HeadPass(const Model& model, int capacity, bool keep) : model_(model), capacity_(capacity), keep_(keep) {
  Arena count;
  lay_out(count);
  bytes_ = count.used();
  memory_ = model.backend->allocate(bytes_);
  Arena arena(memory_.get());
  lay_out(arena);
}

void HeadPass::lay_out(Arena& arena) {
  const auto n = static_cast<std::size_t>(capacity_);
  const std::size_t numbers = n * static_cast<std::size_t>(model_.config.hidden);
  arena.take(rows_, n * sizeof(std::int32_t));
  arena.take(targets_, n * sizeof(std::int32_t));
  for (float** buffer : {&inv_temperature_, &inv_rms_, &logp_, &entropy_, &lse_})
    arena.take(*buffer, n * sizeof(float));
  arena.take(x_, numbers * sizeof(float));
  arena.take(normed_, numbers * size_of(model_.backend->dtype()));
  if (!keep_) return;
  arena.take(d_logp_, n * sizeof(float));
  arena.take(d_normed_, numbers * sizeof(float));
  arena.take(d_gathered_, numbers * sizeof(float));
}

HeadPass::Result HeadPass::forward(const float* x, const ScoredTokens& scored) {
  Backend& backend = *model_.backend;
  count_ = scored.count();
  if (count_ == 0) return {};
  upload(backend, rows_, scored.row);
  upload(backend, targets_, scored.target);
  upload(backend, inv_temperature_, scored.inv_temperature);
  backend.gather_rows({.count = count_, .width = model_.config.hidden, .rows = rows_, .x = x, .y = x_});
  backend.rms_norm({.rows = count_,
                    .width = model_.config.hidden,
                    .epsilon = model_.config.rms_norm_epsilon,
                    .x = x_,
                    .gain = static_cast<const float*>(model_.final_norm.get()),
                    .y = normed_,
                    .inv_rms = inv_rms_});
  backend.head({.rows = count_,
                .x = normed_,
                .weight = &model_.head(),
                .target = targets_,
                .inv_temperature = inv_temperature_,
                .logp = logp_,
                .entropy = entropy_,
                .lse = lse_,
                .dx = d_normed_});
  return {.logprobs = download(backend, logp_, count_), .entropies = download(backend, entropy_, count_)};
}

void HeadPass::backward(const std::vector<float>& d_logprobs, const ModelGradient& gradient, float* d_x) {
  if (count_ == 0) return;
  Backend& backend = *model_.backend;
  upload(backend, d_logp_, d_logprobs);
  const HeadBackwardArgs head{.rows = count_,
                              .x = normed_,
                              .weight = &model_.head(),
                              .target = targets_,
                              .inv_temperature = inv_temperature_,
                              .lse = lse_,
                              .d_logp = d_logp_,
                              .dx = d_normed_};
  if (gradient.head) backend.head_gradient({.back = &head, .d_weight = gradient.head});
  backend.head_backward(head);
  if (gradient.final_norm) {
    backend.gain_gradient({.rows = count_,
                           .width = model_.config.hidden,
                           .x = x_,
                           .inv_rms = inv_rms_,
                           .dy = d_normed_,
                           .d_gain = gradient.final_norm});
  }
  backend.zero(d_gathered_,
               static_cast<std::size_t>(count_) * static_cast<std::size_t>(model_.config.hidden) * sizeof(float));
  backend.rms_norm_backward({.rows = count_,
                             .width = model_.config.hidden,
                             .x = x_,
                             .gain = static_cast<const float*>(model_.final_norm.get()),
                             .inv_rms = inv_rms_,
                             .dy = d_normed_,
                             .dx = d_gathered_});
  backend.scatter_add_rows({.count = count_, .width = model_.config.hidden, .rows = rows_, .x = d_gathered_, .y = d_x});
}

}  // namespace tinylora
