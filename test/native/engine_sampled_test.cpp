// Training on what the sampler has kept: no forward pass, the same bits.
#include "sampled_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

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

/// A completion's last token is not stored, so its backward pass meets what its place in the cache held before.
void reads_nothing_that_was_not_finite(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  Engine engine(candidate.make(dtype, 2), tiny);
  const Basis basis = set_random_adapters(engine, 1);
  std::vector<float> vector = random_vector(basis, 0);
  for (float& value : vector) value *= 1e30F;
  engine.adapters->set_vector(0, vector);
  Sampler sampler(*engine.model, *engine.adapters, 8, 1024, {});
  Trainer trainer(*engine.model, *engine.adapters, *engine.parameters, &sampler.sampled());
  const auto expect_trained = [&](std::initializer_list<int> lengths) {
    for (const int length : lengths) {
      const ScoreBatch batch = sample(sampler, {request(tiny.config, length, 1)});
      expect(is_found(engine, sampler, batch), "the completions are not there");
      expect_same_bits("results", results_of(engine, trainer, batch), results_of(engine, *engine.trainer, batch));
    }
  };
  const auto failed = [&] {
    int count = 0;
    for (const SampleEvent& event : sampler.step(go)) count += event.type == SampleEvent::failed ? 1 : 0;
    return count;
  };
  sampler.submit(request(tiny.config, 62, 0));
  expect(failed() == 1, "its numbers are finite");
  expect_trained({10, 33});

  // One of four long prompts goes through the model in part, and is cancelled before it fails.
  for (int length = 150; length < 154; ++length) {
    SampleRequest bad = request(tiny.config, length, 0);
    bad.num_generations = 1;
    bad.prompt.front() = length % tiny.config.vocab;  // so that they share nothing
    sampler.submit(bad);
  }
  expect(failed() == 3, "not three prompts in a pass");
  sampler.cancel(153);
  expect(failed() == 0 && sampler.idle(), "it has failed");
  expect_trained({11, 34});
}

void needs_no_pass(int cheap_rows) {
  SampledCase of(cheap_rows);
  SampleRequest greedy = of.ask(40);
  greedy.temperature = 0;
  greedy.num_generations = 1;
  greedy.max_completion_length = 30;
  ScoreBatch batch = sample(*of.sampler, {greedy});
  for (float& temperature : batch.temperatures) temperature = 1;
  const int before = of.backend->passes;
  const std::vector<float> results = results_of(*of.engine, *of.trainer, batch);
  batch.keep = false;
  const std::vector<float> scores = of.trainer->forward(batch, go).logprobs;
  expect(of.backend->passes == before, "a forward pass was made");
  expect_same_bits("scores", scores, of.engine->trainer->forward(batch, go).logprobs);
  batch.keep = true;
  expect_same_bits("results", results, results_of(*of.engine, *of.engine->trainer, batch));
  expect(of.backend->passes == before + 2, "passes are not counted");
}

/// Of the layers there is room for one, however many there are.
void takes_memory_for_one_layer() {
  const auto bytes_of = [](int layers) {
    ModelConfig config = TinyModel().config;
    config.layers = layers;
    TinyModel tiny(config);
    Engine engine(make_cpu_backend(DType::f32, 1, usable_paths().front()), tiny);
    set_random_adapters(engine, 2);
    Sampler sampler(*engine.model, *engine.adapters, 4, 1024, {});
    Trainer trainer(*engine.model, *engine.adapters, *engine.parameters, &sampler.sampled());
    SampleRequest one = request(config, 40, 0);
    one.stop_tokens = {};
    results_of(engine, trainer, sample(sampler, {one}));
    return trainer.activation_bytes();
  };
  const std::size_t two = bytes_of(2), six = bytes_of(6);
  expect(two == six, "2 layers take ", two, " bytes, 6 layers ", six);
}

/// Between the passes another request takes the pages: then the layers are run, and may be aborted.
void survives_the_loss_of_its_pages() {
  SampledCase of(1, 128);
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

  const ScoreBatch next = sample(*of.sampler, {of.ask(33)});
  const int passes = of.backend->passes;
  results_of(*of.engine, *of.trainer, next);
  expect(of.backend->passes == passes, "an earlier loss costs a forward pass");
}

/// Requests that keep and that do not, cancelled ones, new vectors, and too little room, in any order: a pass over what
/// was sampled has the bits of one that computes everything, whether it finds it or not.
/// Returns how many passes found what they were over, and how many did not.
std::pair<int, int> any_order_of_events(std::uint64_t seed) {
  Random random(seed);
  SampledCase of(random.below(2) == 0 ? 1 : 8, 32 * (6 + random.below(24)));
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
    one.num_generations = 1 + random.below(4);
    one.max_completion_length = 1 + random.below(60);
    one.keep_activations = random.below(10) != 0;
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
    const auto last = std::min<int>(4, static_cast<int>(finished.size()));
    const auto& [id, completions] = *std::prev(finished.end(), 1 + random.below(last));
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
    if (kind < 2) {
      ask(event);
    } else if (kind == 2 && !asked.empty() && random.below(4) == 0) {
      of.sampler->cancel(asked.rbegin()->first);
    } else if (kind == 3) {
      change();
    } else if (kind < 7 && !finished.empty()) {
      train();
    } else {
      step();
    }
  }
  sample(*of.sampler, {of.ask(33)});  // which comes to its end, since no page has been lost
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
  add_for_each_backend(tests, "keep activations: pages that held NaN", reads_nothing_that_was_not_finite);
  tests.add("keep activations: no forward pass", [] { needs_no_pass(1); });
  tests.add("keep activations: no forward pass, with drafts", [] { needs_no_pass(8); });
  tests.add("keep activations: memory for one layer", takes_memory_for_one_layer);
  tests.add("keep activations: pages that are lost between the passes", survives_the_loss_of_its_pages);
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
