// Training on what the sampler has kept: no forward pass, the same bits.
#include <cmath>
#include <map>

#include "engine/sampler.h"
#include "engine_case.h"
#include "suites.h"
#include "watched_backend.h"

namespace tinylora::test {
namespace {

const std::atomic<bool> go = false;

/// A prompt of `length` tokens, the first 33 of which all prompts have in common.
SampleRequest request(const ModelConfig& config, int length, int slot) {
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

/// Samples the requests; what was sampled as a batch to train on, the slots' groups one after another.
ScoreBatch sample(Sampler& sampler, const std::vector<SampleRequest>& requests) {
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
std::vector<float> results_of(Engine& engine, Trainer& trainer, const ScoreBatch& batch,
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

bool is_found(const Engine& engine, const Sampler& sampler, const ScoreBatch& batch) {
  return sampler.sampled().find(*engine.model, *engine.adapters, batch, pack_score_batch(batch)).has_value();
}

/// One sampler, which first keeps nothing, then all, then as much as gradient checkpointing needs.
void expect_same_results(const std::string& what, Engine& engine) {
  Sampler sampler(*engine.model, *engine.adapters, 5, 1024, {});
  Trainer trainer(*engine.model, *engine.adapters, *engine.parameters, &sampler.sampled());
  std::vector<SampleRequest> requests;
  for (const int length : {1, 32, 40, 43, 150}) {
    const bool adapted = engine.adapters->slots() > 0;
    requests.push_back(request(engine.model->config, length, adapted ? length % 3 - 1 : -1));
    requests.back().num_generations = 2;
    requests.back().max_completion_length = 5;
    requests.back().keep_activations = false;
  }
  const ScoreBatch plain = sample(sampler, requests);
  expect(!is_found(engine, sampler, plain), what, ": something was kept");
  const std::vector<float> want = results_of(engine, trainer, plain);
  for (const bool gradient_checkpointing : {false, true}) {
    for (SampleRequest& one : requests) {
      one.keep_activations = true;
      one.gradient_checkpointing = gradient_checkpointing;
    }
    const ScoreBatch batch = sample(sampler, requests);
    expect(batch.tokens == plain.tokens, what, ": other tokens");
    expect(is_found(engine, sampler, batch), what, ": the completions are not there");
    expect_same_bits(what, results_of(engine, trainer, batch), want);
  }
}

void changes_no_bit(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen3");
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 4);
  expect_same_results("v", engine);
}

void changes_no_bit_of_weights(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen2");
  Engine engine(candidate.make(dtype, 2), tiny);
  const auto file = tiny.write();
  std::vector<std::string> names;
  for (const auto& [name, values] : tiny.numbers) names.push_back(name);
  engine.parameters->train_weights(names, tiny.tensors);
  expect_same_results("all weights", engine);
  set_random_adapters(engine, 4);
  engine.parameters->train_basis();
  expect_same_results("A and B", engine);
}

/// A model whose passes are counted, and what samples from it and trains it.
struct Case {
  explicit Case(int cheap_rows = 1, int cache_tokens = 1024) {
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

void needs_no_pass(int cheap_rows) {
  Case of(cheap_rows);
  SampleRequest greedy = of.ask(40);
  greedy.temperature = 0;
  greedy.num_generations = 1;
  greedy.max_completion_length = 30;
  ScoreBatch batch = sample(*of.sampler, {greedy});
  for (float& temperature : batch.temperatures) temperature = 1;
  const int before = of.backend->passes;
  const std::vector<float> results = results_of(*of.engine, *of.trainer, batch);
  expect(of.backend->passes == before, "a forward pass was made");
  expect_same_bits("results", results, results_of(*of.engine, *of.engine->trainer, batch));
  expect(of.backend->passes == before + 1, "passes are not counted");
}

void finds_what_would_be_sampled_alike_only() {
  Case of;
  const ScoreBatch batch = sample(*of.sampler, {of.ask(40), of.ask(33, 1)});
  expect(of.finds(batch), "the completions are not there");
  ScoreBatch other = batch;
  other.tokens.back() = (other.tokens.back() + 1) % of.tiny.config.vocab;
  expect(!of.finds(other), "another completion was found");
  other = batch;
  other.tokens.front() = (other.tokens.front() + 1) % of.tiny.config.vocab;
  expect(!of.finds(other), "another prompt was found");
  other = batch;
  for (std::int32_t& slot : other.slots) slot = 1 - slot;
  expect(!of.finds(other), "completions of another slot were found");
  other = batch;
  other.gradient_checkpointing = true;
  expect(!of.finds(other), "rows were found that were not kept for gradient checkpointing");

  of.engine->adapters->set_vector(1, random_vector(of.basis, 1));
  expect(!of.finds(batch), "completions of another v were found");
  SampleRequest unkept = of.ask(40);
  unkept.keep_activations = false;
  sample(*of.sampler, {unkept});
  const ScoreBatch again = sample(*of.sampler, {of.ask(33, 1)});
  expect(of.finds(again), "the completions of the new v are not there");

  std::vector<float> other_v = random_vector(of.basis, 1);
  for (float& number : other_v) number = -number;
  of.engine->adapters->set_vector(1, other_v);
  Sampler fresh(*of.engine->model, *of.engine->adapters, 4, 1024, {});
  expect(sample(*of.sampler, {of.ask(33, 1)}).tokens == sample(fresh, {of.ask(33, 1)}).tokens,
         "the prompt of an earlier v was read");
  of.engine->adapters->set_basis(of.basis);
  expect(!of.finds(again), "completions of another basis were found");
  const std::size_t bytes = of.sampler->activation_bytes();
  sample(*of.sampler, {unkept});
  expect(of.sampler->activation_bytes() < bytes, "the memory of another basis is still held");
}

/// Between the passes another request takes the pages: then the layers are run, and may be aborted.
void survives_the_loss_of_its_pages() {
  Case of(1, 128);
  const auto lose = [&] {
    SampleRequest large = of.ask(100);
    large.num_generations = 1;
    sample(*of.sampler, {large});
  };
  const ScoreBatch batch = sample(*of.sampler, {of.ask(33)});
  const std::vector<float> want = results_of(*of.engine, *of.engine->trainer, batch);
  const int before = of.backend->passes;
  const std::vector<float> results = results_of(*of.engine, *of.trainer, batch, [&] {
    expect(of.backend->passes == before, "a forward pass was made");
    lose();
  });
  expect_same_bits("results", results, want);
  expect(!of.finds(batch), "completions are there whose pages were taken");

  const ScoreResult scores = of.trainer->forward(sample(*of.sampler, {of.ask(33)}), go);
  expect(scores.sampled, "the completions are not there");
  lose();
  const std::atomic<bool> abort = true;
  expect_error("ERR_ABORTED", "forward: ", [&] { of.trainer->backward(random_weights(scores, 77), {}, abort); });
  for (const double number : of.engine->adapters->gradient(0)) expect(number == 0, "an aborted pass left a gradient");
}

/// Data may have a problem twice, or two epochs meet in a step.
void finds_each_of_equal_prompts() {
  Case of;
  SampleRequest again = of.ask(40);
  again.id = 1;
  again.seed = 12;
  const ScoreBatch batch = sample(*of.sampler, {of.ask(40), again});
  expect(of.finds(batch), "the completions are not there");
  expect_same_bits("results", results_of(*of.engine, *of.trainer, batch),
                   results_of(*of.engine, *of.engine->trainer, batch));
}

/// Pages that are kept make nobody wait, and a request that cannot be kept is sampled all the same.
void keeps_nobody_waiting() {
  Case roomy, narrow(1, 96);
  std::vector<SampleRequest> requests = {roomy.ask(33), roomy.ask(40), roomy.ask(41), roomy.ask(50, 1)};
  const ScoreBatch want = sample(*roomy.sampler, requests), found = sample(*narrow.sampler, requests);
  expect(found.tokens == want.tokens, "other tokens");
  expect(roomy.finds(want) && !narrow.finds(found), "what is kept is not what fits");
  expect_same_bits("results", results_of(*narrow.engine, *narrow.trainer, found),
                   results_of(*roomy.engine, *roomy.trainer, want));
}

/// What runs already was computed without being kept, and a later request may share it.
void begins_where_all_is_kept() {
  Case of;
  SampleRequest unkept = of.ask(40);
  unkept.keep_activations = false;
  of.sampler->submit(unkept);
  of.sampler->step(go);
  SampleRequest kept = of.ask(41);
  of.sampler->submit(kept);
  ScoreBatch batch;
  while (!of.sampler->idle()) {
    for (const SampleEvent& event : of.sampler->step(go)) {
      if (event.id != kept.id) continue;
      if (batch.parents.empty()) add_sequence(batch, kept.prompt, -1, 0, false);
      add_sequence(batch, event.token_ids, 0, 0, true);
    }
  }
  batch.keep = true;
  expect(!of.finds(batch), "rows were found that were not kept");
  const ScoreBatch next = sample(*of.sampler, {kept});
  expect(of.finds(next), "the completions are not there");
}

/// Requests that keep and that do not, cancelled ones, new vectors, and too little room, in any order: a pass over what
/// was sampled has the bits of one that computes everything, whether it finds it or not.
/// Returns how many passes found what they were over, and how many did not.
std::pair<int, int> any_order_of_events(std::uint64_t seed) {
  Random random(seed);
  Case of(random.below(2) == 0 ? 1 : 8, 32 * (6 + random.below(12)));
  std::map<std::int64_t, SampleRequest> asked;
  std::map<std::int64_t, std::map<int, std::vector<std::int32_t>>> finished;
  const auto step = [&] {
    for (SampleEvent& told : of.sampler->step(go)) {
      if (told.reason != "aborted") finished[told.id][told.completion] = std::move(told.token_ids);
    }
  };
  const auto ask = [&](int id) {
    SampleRequest one = of.ask(1 + random.below(70), random.below(3) - 1);
    one.id = id;
    one.num_generations = 1 + random.below(3);
    one.keep_activations = random.below(6) != 0;
    one.gradient_checkpointing = seed % 4 == 0;
    asked[id] = one;
    of.sampler->submit(one);
  };
  const auto change = [&] {
    std::vector<float> v = random_vector(of.basis, 0);
    for (float& number : v) number *= static_cast<float>(random.uniform());
    const int slot = random.below(2);
    if (!of.sampler->uses(slot)) of.engine->adapters->set_vector(slot, v);
  };
  std::pair<int, int> passes{0, 0};
  const auto train = [&] {
    const auto& [id, completions] = *std::next(finished.begin(), random.below(static_cast<int>(finished.size())));
    const SampleRequest& one = asked.at(id);
    ScoreBatch batch;
    const int prompt = add_sequence(batch, one.prompt, -1, one.slot, false);
    for (const auto& [index, tokens] : completions) add_sequence(batch, tokens, prompt, one.slot, true);
    batch.keep = true;
    batch.gradient_checkpointing = one.gradient_checkpointing;
    ++(of.finds(batch) ? passes.first : passes.second);
    const std::vector<float> results =
        results_of(*of.engine, *of.trainer, batch, random.below(2) == 0 ? std::function<void()>(step) : nullptr);
    expect_same_bits("seed " + std::to_string(seed), results, results_of(*of.engine, *of.engine->trainer, batch));
  };
  for (int event = 0; event < 200; ++event) {
    const int kind = random.below(20);
    if (kind == 0) {
      ask(event);
    } else if (kind == 1 && !asked.empty() && random.below(4) == 0) {
      of.sampler->cancel(asked.rbegin()->first);
    } else if (kind == 2) {
      change();
    } else if (kind < 6 && !finished.empty()) {
      train();
    } else {
      step();
    }
  }
  return passes;
}

}  // namespace

void add_engine_sampled_tests(Tests& tests) {
  for (const Candidate& candidate : candidates()) {
    for (const DType dtype : candidate.dtypes) {
      const std::string where = " [" + candidate.name + " " + name_of(dtype) + "]";
      tests.add("keep activations: no bit of v changes" + where, [=] { changes_no_bit(candidate, dtype); });
      tests.add("keep activations: no bit of trained weights changes" + where,
                [=] { changes_no_bit_of_weights(candidate, dtype); });
    }
  }
  tests.add("keep activations: no forward pass", [] { needs_no_pass(1); });
  tests.add("keep activations: no forward pass, with drafts", [] { needs_no_pass(8); });
  tests.add("keep activations: what would be sampled alike only", finds_what_would_be_sampled_alike_only);
  tests.add("keep activations: pages that are lost between the passes", survives_the_loss_of_its_pages);
  tests.add("keep activations: equal prompts", finds_each_of_equal_prompts);
  tests.add("keep activations: nobody waits", keeps_nobody_waiting);
  tests.add("keep activations: only where all is kept", begins_where_all_is_kept);
  tests.add("keep activations: any order of events", [] {
    int found = 0, computed = 0;
    for (std::uint64_t seed = 0; seed < 24; ++seed) {
      const auto [some, others] = any_order_of_events(seed);
      found += some;
      computed += others;
    }
    expect(found > 100 && computed > 100, "found ", found, ", computed ", computed);
  });
}

}  // namespace tinylora::test
