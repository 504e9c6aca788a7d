// What of the sampler's work is kept, for how long, and who finds it.
#include "sampled_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

/// A request on its way, and its completions as a batch to train on.
struct Asked {
  Asked(Sampler& to, const SampleRequest& what) : sampler(to), request(what) {
    sampler.submit(request);
    add_sequence(batch, request.prompt, -1, request.slot, false);
    batch.keep = true;
  }
  void step() {
    for (const SampleEvent& event : sampler.step(go)) {
      if (event.id == request.id) add_sequence(batch, event.token_ids, 0, request.slot, true);
    }
  }
  /// Until this many of its completions have ended.
  const ScoreBatch& await(int completions) {
    while (static_cast<int>(batch.parents.size()) <= completions) step();
    return batch;
  }
  const ScoreBatch& await_all() { return await(request.num_generations); }

  Sampler& sampler;
  SampleRequest request;
  ScoreBatch batch;
};

void finds_what_would_be_sampled_alike_only() {
  SampledCase of;
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
  sample(*of.sampler, {unkept(of.ask(40))});
  const ScoreBatch again = sample(*of.sampler, {of.ask(33, 1)});
  expect(of.finds(again), "the completions of the new v are not there");

  std::vector<float> other_v = random_vector(of.basis, 1);
  for (float& number : other_v) number = -number;
  of.engine->adapters->set_vector(1, other_v);
  Sampler fresh(*of.engine->model, *of.engine->adapters, 4, 1024, {});
  expect(sample(*of.sampler, {of.ask(33, 1)}).tokens == sample(fresh, {of.ask(33, 1)}).tokens,
         "the prompt of an earlier v was read");
}

/// Versions of v begin anew with a basis, which may have fewer slots, too.
void forgets_another_basis() {
  SampledCase of;
  const ScoreBatch batch = sample(*of.sampler, {of.ask(40), of.ask(33, 1)});
  const std::size_t bytes = of.sampler->activation_bytes();
  set_random_adapters(*of.engine, 4);
  expect(!of.finds(batch), "completions of another basis were found");
  Basis smaller = of.basis;
  smaller.slots = 1;
  of.engine->adapters->set_basis(smaller);
  sample(*of.sampler, {unkept(of.ask(40))});
  expect(of.sampler->activation_bytes() < bytes, "the memory of another basis is still held");
}

/// Also those of slots, which have the weights beneath their v.
void forgets_other_weights() {
  SampledCase of;
  const auto file = of.tiny.write();
  of.engine->parameters->train_weights({"model.norm.weight"}, of.tiny.tensors);
  const ScoreBatch base = sample(*of.sampler, {of.ask(40, -1)}), adapted = sample(*of.sampler, {of.ask(33)});
  expect(of.finds(base) && of.finds(adapted), "the completions are not there");
  of.engine->parameters->write(0, Parameters::master, of.engine->parameters->read(0, Parameters::master));
  expect(!of.finds(base) && !of.finds(adapted), "completions of other weights were found");
}

/// Data may have a problem twice, or two epochs meet in a step.
void finds_each_of_equal_prompts() {
  SampledCase of;
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
  SampledCase roomy, narrow(1, 96);
  std::vector<SampleRequest> requests = {roomy.ask(33), roomy.ask(40), roomy.ask(41), roomy.ask(50, 1)};
  const ScoreBatch want = sample(*roomy.sampler, requests), found = sample(*narrow.sampler, requests);
  expect(found.tokens == want.tokens, "other tokens");
  expect(roomy.finds(want) && !narrow.finds(found), "what is kept is not what fits");
  expect_same_bits("results", results_of(*narrow.engine, *narrow.trainer, found),
                   results_of(*roomy.engine, *roomy.trainer, want));
}

/// What was sampled last is trained on next.
void gives_up_the_oldest_first() {
  SampledCase of(1, 160);  // 5 pages: one of 32 tokens that all prompts share, and one for each of 4 completions
  SampleRequest first = of.ask(40), second = of.ask(41), last = of.ask(42);
  first.num_generations = second.num_generations = last.num_generations = 1;
  const ScoreBatch oldest = sample(*of.sampler, {first}), older = sample(*of.sampler, {second});
  Asked running(*of.sampler, ends_first(0));
  running.await(1);
  Asked needs_a_page(*of.sampler, last);
  expect(of.finds(running.await_all()) && of.finds(older), "younger completions were given up");
  expect(!of.finds(oldest), "there is more room than this test is for");
}

/// Of a group that still runs: one completion has ended, another request needs its page. The first one has the end of
/// the prompt.
void finds_nothing_that_a_group_has_given_up(int lost) {
  SampledCase of(1, 96);
  Asked running(*of.sampler, ends_first(lost));
  running.await(1);
  of.sampler->submit(unkept(of.ask(40)));
  const ScoreBatch& both = running.await_all();
  ScoreBatch other;  // without the one that ended first
  add_sequence(other, running.request.prompt, -1, 0, false);
  add_sequence(other, {both.tokens.begin() + both.starts[2], both.tokens.end()}, 0, 0, true);
  other.keep = true;
  expect(!of.finds(both) && of.finds(other) == (lost > 0), "what is there is not what was left");
  for (const ScoreBatch& batch : {both, other}) {
    expect_same_bits("results", results_of(*of.engine, *of.trainer, batch),
                     results_of(*of.engine, *of.engine->trainer, batch));
  }
}

/// What runs already was computed without being kept. A later request may share it, or not.
void begins_where_all_is_kept() {
  for (const bool kept_before : {false, true}) {
    SampledCase of;
    if (kept_before) sample(*of.sampler, {of.ask(33, 1)});
    SampleRequest runs = unkept(of.ask(40));
    runs.max_completion_length = 60;
    runs.stop_tokens = {};
    of.sampler->submit(runs);
    of.sampler->step(go);
    expect(!of.finds(Asked(*of.sampler, of.ask(41)).await_all()), "rows were found that were not kept");
    expect(of.finds(Asked(*of.sampler, of.ask(20)).await_all()), "what shares nothing was not kept");
    expect(of.sampler->uses(0), "it runs no longer");
    while (!of.sampler->idle()) of.sampler->step(go);
    const ScoreBatch next = sample(*of.sampler, {of.ask(41)});
    expect(of.finds(next), "the completions are not there");
  }
}

/// Evaluation between steps costs what it cost before.
void copies_what_is_asked_for_alone() {
  SampledCase of;
  const ScoreBatch kept = sample(*of.sampler, {of.ask(40, 1)});
  const int before = of.backend->copies;
  const ScoreBatch batch = sample(*of.sampler, {unkept(of.ask(40))});
  expect(of.backend->copies == before, "rows were copied that nobody wants");
  expect(of.finds(kept) && !of.finds(batch), "what is kept is not what was asked for");
}

/// With and without gradient checkpointing, side by side: there is memory of one kind, that of the first.
void keeps_one_kind_at_a_time() {
  SampledCase of(1, 160);  // 5 pages: 1 + 3 of the first request and 1 of the second; then 1 of the third
  SampleRequest other = of.ask(1, 1), next = of.ask(1);
  other.gradient_checkpointing = true;
  other.num_generations = next.num_generations = 1;
  other.max_completion_length = 20;  // so that it ends last
  other.stop_tokens = {};
  const ScoreBatch first = sample(*of.sampler, {of.ask(33)});
  sample(*of.sampler, {of.ask(33), other});
  const ScoreBatch last = sample(*of.sampler, {next});
  expect(of.finds(first) && of.finds(last), "the completions of the first kind are not there");
}

void keeps_nothing_that_was_cancelled() {
  SampledCase of;
  SampleRequest request = of.ask(40);
  request.stop_tokens = {};
  Asked cancelled(*of.sampler, request);
  for (int step = 0; step < 4; ++step) cancelled.step();
  of.sampler->cancel(request.id);
  const ScoreBatch& batch = cancelled.await_all();
  expect(batch.tokens.size() > request.prompt.size(), "no token had been sampled");
  expect(!of.finds(batch), "cancelled completions take room");
}

/// One completion has ended when its request fails, with a prompt that nobody may read any more.
void keeps_nothing_that_failed() {
  SampledCase of;
  const SampleRequest request = ends_first(0);
  Asked failed(*of.sampler, request);
  const ScoreBatch& batch = failed.await(1);
  of.sampler->fail_all("ERR_TEST", "a test");
  expect(!of.finds(batch), "completions of a failed request were found");
  SampledCase fresh;
  expect(sample(*of.sampler, {request}).tokens == sample(*fresh.sampler, {request}).tokens,
         "other tokens after a failure");
}

}  // namespace

void add_engine_sampled_keeping_tests(Tests& tests) {
  tests.add("keep activations: what would be sampled alike only", finds_what_would_be_sampled_alike_only);
  tests.add("keep activations: another basis", forgets_another_basis);
  tests.add("keep activations: other weights", forgets_other_weights);
  tests.add("keep activations: equal prompts", finds_each_of_equal_prompts);
  tests.add("keep activations: nobody waits", keeps_nobody_waiting);
  tests.add("keep activations: the oldest go first", gives_up_the_oldest_first);
  tests.add("keep activations: the first of a running group goes", [] { finds_nothing_that_a_group_has_given_up(0); });
  tests.add("keep activations: the second of a running group goes", [] { finds_nothing_that_a_group_has_given_up(1); });
  tests.add("keep activations: only where all is kept", begins_where_all_is_kept);
  tests.add("keep activations: only what is asked for", copies_what_is_asked_for_alone);
  tests.add("keep activations: one kind at a time", keeps_one_kind_at_a_time);
  tests.add("keep activations: cancelled requests", keeps_nothing_that_was_cancelled);
  tests.add("keep activations: failed requests", keeps_nothing_that_failed);
}

}  // namespace tinylora::test
