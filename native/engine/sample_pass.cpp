#include "engine/sample_pass.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "engine/activations.h"

namespace tinylora {

SamplePass::SamplePass(const Model& model, const Adapters& adapters, int rows, int draws, int pages)
    : model_(model),
      adapters_(adapters),
      cache_(model, pages),
      activations_(make_activations(model, adapters, rows, 0)) {
  Arena count;
  lay_out(count, draws);
  bytes_ = count.used();
  memory_ = model.backend->allocate(bytes_);
  Arena arena(memory_.get());
  lay_out(arena, draws);
}

void SamplePass::lay_out(Arena& arena, int draws) {
  const auto n = static_cast<std::size_t>(draws);
  const std::size_t numbers = n * static_cast<std::size_t>(model_.config.hidden);
  arena.take(rows_, n * sizeof(std::int32_t));
  arena.take(gathered_, numbers * sizeof(float));
  arena.take(inv_rms_, n * sizeof(float));
  arena.take(normed_, numbers * size_of(model_.backend->dtype()));
  arena.take(tokens_, n * sizeof(std::int32_t));
  arena.take(logprobs_, n * sizeof(float));
}

std::size_t SamplePass::activation_bytes() const { return activations_->bytes + bytes_; }

std::vector<Drawn> SamplePass::run(const Batch& batch, const std::vector<Draw>& draws, const std::atomic<bool>& abort) {
  Backend& backend = *model_.backend;
  const DeviceBatch device(backend, batch);
  const float* x = run_layers(model_, adapters_, device, cache_, *activations_, abort);
  const int count = static_cast<int>(draws.size());
  if (count == 0) return {};

  std::vector<std::int32_t> rows;
  std::vector<SampleRow> how;
  for (const Draw& draw : draws) {
    rows.push_back(draw.row);
    how.push_back(draw.how);
  }
  backend.upload(rows_, rows.data(), rows.size() * sizeof(std::int32_t));
  backend.gather_rows({.count = count, .width = model_.config.hidden, .rows = rows_, .x = x, .y = gathered_});
  backend.rms_norm({.rows = count,
                    .width = model_.config.hidden,
                    .epsilon = model_.config.rms_norm_epsilon,
                    .x = gathered_,
                    .gain = static_cast<const float*>(model_.final_norm.get()),
                    .y = normed_,
                    .inv_rms = inv_rms_});
  sample(how, 0, count);
  return download(count);
}

/// A backend refuses rows without finite logits: then the rows are drawn one by one, so that one bad adapter does not
/// fail the requests beside it. The tokens are the same either way (row invariance).
void SamplePass::sample(const std::vector<SampleRow>& how, int first, int count) {
  const std::size_t row_bytes = static_cast<std::size_t>(model_.config.hidden) * size_of(model_.backend->dtype());
  try {
    model_.backend->head_sample({.rows = count,
                                 .x = static_cast<std::byte*>(normed_) + static_cast<std::size_t>(first) * row_bytes,
                                 .weight = &model_.head(),
                                 .how = how.data() + first,
                                 .token = tokens_ + first,
                                 .logp = logprobs_ + first});
  } catch (const Error& error) {
    if (error.code() != "ERR_NUMERIC") throw;
    if (count == 1) {
      const float none = std::numeric_limits<float>::quiet_NaN();
      model_.backend->upload(logprobs_ + first, &none, sizeof(none));
      return;
    }
    for (int row = 0; row < count; ++row) sample(how, first + row, 1);
  }
}

std::vector<Drawn> SamplePass::download(int count) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(count));
  std::vector<float> logprobs(tokens.size());
  model_.backend->download(tokens.data(), tokens_, tokens.size() * sizeof(std::int32_t));
  model_.backend->download(logprobs.data(), logprobs_, logprobs.size() * sizeof(float));
  std::vector<Drawn> drawn;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!std::isfinite(logprobs[i])) logprobs[i] = std::numeric_limits<float>::quiet_NaN();
    drawn.push_back({tokens[i], logprobs[i]});
  }
  return drawn;
}

void SamplePass::clear_pages(const std::vector<std::int32_t>& pages) {
  const std::size_t half = cache_.bytes() / static_cast<std::size_t>(cache_.pages()) / 2 /
                           static_cast<std::size_t>(model_.config.layers);  // keys, or values, of one page and layer
  for (int layer = 0; layer < model_.config.layers; ++layer) {
    const KvPages kv = cache_.layer(layer);
    for (const std::int32_t page : pages) {
      const std::size_t offset = static_cast<std::size_t>(page) * half;
      model_.backend->zero(static_cast<std::byte*>(kv.keys) + offset, half);
      model_.backend->zero(static_cast<std::byte*>(kv.values) + offset, half);
    }
  }
}

}  // namespace tinylora
