// Completions whose activations the sampler keeps, and training passes over them.
#pragma once

#include <cmath>
#include <map>

#include "core/error.h"
#include "engine/sampler.h"
#include "engine_case.h"
#include "watched_backend.h"

namespace tinylora::test {

inline const std::atomic<bool> go = false;

/// A prompt of `length` tokens, the first 33 of which all prompts have in common.
inline SampleRequest request(const ModelConfig& config, int length, int slot) {
  SampleRequest result;
  result.id = length;
  result.prompt = random_tokens(length, config.vocab, 7);
  if (length > 33) result.prompt.back() = length % config.vocab;
  result.slot = slot;
  result.num_generations = 3;
  result.max_completion_length = 12;
  result.temperature = 0.8F;
  result.seed = 11;
  result.first_sequence = static_cast<std::uint64_t>(length) * 8;
  result.stop_tokens = {3, 5};  // so that some end early
  result.keep_activations = true;
  return result;
}

/// The same, but nothing is kept.
inline SampleRequest unkept(SampleRequest result) {
  result.keep_activations = false;
  return result;
}

/// Samples the requests; what was sampled as a batch to train on, the slots' groups one after another.
inline ScoreBatch sample(Sampler& sampler, const std::vector<SampleRequest>& requests) {
  std::map<std::pair<std::int64_t, int>, std::vector<std::int32_t>> completions;
  for (const SampleRequest& one : requests) sampler.submit(one);
  for (int steps = 0; !sampler.idle(); ++steps) {
    expect(steps < 10000, "the sampler does not come to an end");
    for (SampleEvent& event : sampler.step(go)) {
      expect(event.type == SampleEvent::finished, "request ", event.id, ": ", event.reason);
      completions[{event.id, event.completion}] = event.token_ids;
    }
  }
  ScoreBatch batch;
  for (const SampleRequest& one : requests) {
    const int prompt = add_sequence(batch, one.prompt, -1, one.slot, false, one.temperature);
    for (int i = 0; i < one.num_generations; ++i) {
      add_sequence(batch, completions.at({one.id, i}), prompt, one.slot, true, one.temperature);
    }
  }
  batch.keep = true;
  batch.gradient_checkpointing = requests.front().gradient_checkpointing;
  return batch;
}

/// Log-probabilities and gradients; `between` runs between the two passes.
inline std::vector<float> results_of(Engine& engine, Trainer& trainer, const ScoreBatch& batch,
                                     const std::function<void()>& between = {}) {
  engine.adapters->zero_gradients();
  engine.parameters->zero_gradients();
  const ScoreResult scores = trainer.forward(batch, go);
  if (between) between();
  const auto parts = trainer.backward(random_weights(scores, 77), {}, go);
  std::vector<float> results;
  for (const float logprob : scores.logprobs) results.push_back(std::isnan(logprob) ? 0 : logprob);
  for (int slot = 0; slot < engine.adapters->slots(); ++slot) {
    for (const double number : engine.adapters->gradient(slot)) results.push_back(static_cast<float>(number));
  }
  for (int i = 0; i < static_cast<int>(engine.parameters->tensors().size()); ++i) {
    const std::vector<float> gradient = engine.parameters->read(i, Parameters::gradient);
    results.insert(results.end(), gradient.begin(), gradient.end());
  }
  return results;
}

inline bool is_found(const Engine& engine, const Sampler& sampler, const ScoreBatch& batch) {
  return sampler.sampled().find(*engine.model, *engine.adapters, batch, pack_score_batch(batch)).has_value();
}

/// A model whose passes are counted, and what samples from it and trains it.
struct SampledCase {
  explicit SampledCase(int cheap_rows = 1, int cache_tokens = 1024) {
    auto owned = std::make_unique<Watched>(cheap_rows);
    backend = owned.get();
    engine = std::make_unique<Engine>(std::move(owned), tiny);
    basis = set_random_adapters(*engine, 4);
    sampler = std::make_unique<Sampler>(*engine->model, *engine->adapters, 4, cache_tokens, TokenBytes{});
    trainer = std::make_unique<Trainer>(*engine->model, *engine->adapters, *engine->parameters, &sampler->sampled());
  }
  SampleRequest ask(int length, int slot = 0) const { return request(tiny.config, length, slot); }
  bool finds(const ScoreBatch& batch) const { return is_found(*engine, *sampler, batch); }

  TinyModel tiny;
  Watched* backend;
  std::unique_ptr<Engine> engine;
  Basis basis;
  std::unique_ptr<Sampler> sampler;
  std::unique_ptr<Trainer> trainer;
};

/// Two completions of a prompt of 33 tokens, of which this one ends soon and the other at its limit.
inline SampleRequest ends_first(int completion) {
  SampledCase of;
  SampleRequest result = of.ask(33);
  result.num_generations = 2;
  result.stop_tokens = {};
  const ScoreBatch batch = sample(*of.sampler, {result});
  const auto begin = [&](int index) {
    return batch.tokens.begin() + batch.starts[static_cast<std::size_t>(index) + 1];
  };
  for (int i = 0; i < 3; ++i) {
    const std::int32_t token = begin(completion)[i];
    if (std::find(begin(1 - completion), begin(2 - completion), token) == begin(2 - completion)) {
      result.stop_tokens = {token};
      return result;
    }
  }
  fail("ERR_TEST", "completion ", completion, " begins with tokens of the other one alone");
}

}  // namespace tinylora::test
