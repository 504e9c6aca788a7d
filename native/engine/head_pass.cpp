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
  input_.lay_out(arena, model_, capacity_);
  arena.take(targets_, n * sizeof(std::int32_t));
  for (float** buffer : {&inv_temperature_, &logp_, &entropy_, &lse_}) arena.take(*buffer, n * sizeof(float));
  if (!keep_) return;
  const std::size_t numbers = n * static_cast<std::size_t>(model_.config.hidden);
  arena.take(d_logp_, n * sizeof(float));
  arena.take(d_normed_, numbers * sizeof(float));
  arena.take(d_gathered_, numbers * sizeof(float));
}

HeadPass::Result HeadPass::forward(const float* x, const ScoredTokens& scored) {
  Backend& backend = *model_.backend;
  count_ = scored.count();
  if (count_ == 0) return {};
  upload(backend, input_.rows, scored.row);
  upload(backend, targets_, scored.target);
  upload(backend, inv_temperature_, scored.inv_temperature);
  input_.compute(model_, count_, x);
  backend.head({.rows = count_,
                .x = input_.normed,
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
                              .x = input_.normed,
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
                           .x = input_.x,
                           .inv_rms = input_.inv_rms,
                           .dy = d_normed_,
                           .d_gain = gradient.final_norm});
  }
  backend.zero(d_gathered_,
               static_cast<std::size_t>(count_) * static_cast<std::size_t>(model_.config.hidden) * sizeof(float));
  backend.rms_norm_backward({.rows = count_,
                             .width = model_.config.hidden,
                             .x = input_.x,
                             .gain = floats(model_.final_norm),
                             .inv_rms = input_.inv_rms,
                             .dy = d_normed_,
                             .dx = d_gathered_});
  backend.scatter_add_rows(
      {.count = count_, .width = model_.config.hidden, .rows = input_.rows, .x = d_gathered_, .y = d_x});
}

}  // namespace tinylora
