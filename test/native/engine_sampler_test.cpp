// The sampler without JavaScript: its bookkeeping, and the equality with the training pass.
#include <map>

#include "engine/sampler.h"
#include "engine_case.h"
#include "suites.h"
#include "watched_backend.h"

namespace tinylora::test {
namespace {

using Completions = std::map<std::pair<std::int64_t, int>, SampleEvent>;

/// Steps until nothing is left; the finished completions.
Completions run(Sampler& sampler) {
  const std::atomic<bool> abort = false;
  Completions completions;
  for (int steps = 0; !sampler.idle(); ++steps) {
    expect(steps < 10000, "the sampler does not come to an end");
    for (SampleEvent& event : sampler.step(abort)) {
      expect(event.type == SampleEvent::finished, "request ", event.id, ": ", event.reason);
      const auto key = std::pair{event.id, event.completion};
      expect(completions.emplace(key, std::move(event)).second, "a completion finished twice");
    }
  }
  return completions;
}

SampleRequest request(const ModelConfig& config, int length, int slot) {
  SampleRequest result;
  result.id = length;
  result.prompt = random_tokens(length, config.vocab, static_cast<std::uint64_t>(length));
  result.slot = slot;
  result.num_generations = 3;
  result.max_completion_length = 12;
  result.temperature = 0.8F;
  result.seed = 11;
  result.first_sequence = static_cast<std::uint64_t>(length) * 8;
  return result;
}

void completions_take_pages_as_they_grow() {
  TinyModel tiny;
  const auto file = tiny.write();
  auto owned = std::make_unique<Watched>(1);
  const Watched& watch = *owned;
  Engine engine(std::move(owned), tiny);
  Sampler sampler(*engine.model, *engine.adapters, 8, 5 * kPageSize, {});
  SampleRequest three = request(engine.model->config, 3, -1);
  three.max_completion_length = kPageSize + 8;
  sampler.submit(three);
  const std::atomic<bool> go = false;
  std::size_t finished = 0;
  for (int step = 0; !sampler.idle(); ++step) {
    finished += sampler.step(go).size();
    if (step == 0 || step >= kPageSize - 3) continue;
    expect(watch.rows == 2, watch.rows, " completions run; five pages hold two each of two completions");
    expect(watch.pages.size() == 2, watch.pages.size(), " pages are used in step ", step);
  }
  expect(finished == 3 && watch.pages.size() == 4, finished, " completions used ", watch.pages.size(), " pages");
}

/// Greedy completions, which soon repeat themselves, and drawn ones; one ends at a token in the middle of what repeats,
/// and some start while others have drafts.
void drafts_save_passes_and_change_nothing() {
  TinyModel tiny;
  const auto file = tiny.write();
  std::int32_t stop = -1;
  const auto sampled = [&](int cheap_rows, int& passes) {
    auto owned = std::make_unique<Watched>(cheap_rows);
    const Watched& watch = *owned;
    Engine engine(std::move(owned), tiny);
    Sampler sampler(*engine.model, *engine.adapters, 4, 512, {});
    const std::atomic<bool> go = false;
    SampleRequest greedy = request(engine.model->config, 9, -1), drawn = request(engine.model->config, 5, -1);
    greedy.num_generations = 1;
    greedy.temperature = 0;
    greedy.max_completion_length = 30;
    sampler.submit(greedy);
    for (int step = 0; step < 4; ++step) expect(sampler.step(go).empty(), "an early end");
    sampler.submit(drawn);
    Completions completions = run(sampler);
    passes = watch.passes;

    if (stop < 0) stop = completions.at({9, 0}).token_ids[20];
    greedy.id = 10;
    greedy.stop_tokens = {stop};
    sampler.submit(greedy);
    completions.merge(run(sampler));
    return completions;
  };
  int plain_passes = 0, draft_passes = 0;
  const Completions plain = sampled(1, plain_passes), drafted = sampled(8, draft_passes);
  expect(plain.size() == 5 && drafted.size() == 5, "completions are missing");
  for (const auto& [key, event] : drafted) {
    expect(event.token_ids == plain.at(key).token_ids && event.reason == plain.at(key).reason, "other tokens");
    expect_same_bits("log-probabilities", event.logprobs, plain.at(key).logprobs);
    expect_same_bits("entropies", event.entropies, plain.at(key).entropies);
  }
  expect(draft_passes < plain_passes, "drafts: ", draft_passes, " passes, without ", plain_passes);
}

void sampled_are_scored_log_probabilities(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen3");
  const auto file = tiny.write();
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 2);
  const int longest = engine.model->config.context - 13;
  Sampler sampler(*engine.model, *engine.adapters, 4, 256, {});
  std::vector<SampleRequest> requests;
  for (const int length : {1, 31, 32, 33, 40}) {
    if (length <= longest) requests.push_back(request(engine.model->config, length, length % 3 - 1));
  }
  for (const SampleRequest& one : requests) sampler.submit(one);
  const Completions completions = run(sampler);
  for (const SampleRequest& one : requests) {
    ScoreBatch batch;
    add_sequence(batch, one.prompt, -1, one.slot, false);
    for (int i = 0; i < one.num_generations; ++i)
      add_sequence(batch, completions.at({one.id, i}).token_ids, 0, one.slot, true, one.temperature);
    const ScoreResult scores = engine.forward(batch);
    for (int i = 0; i < one.num_generations; ++i) {
      const auto begin = scores.logprobs.begin() + batch.starts[static_cast<std::size_t>(i + 1)];
      const auto end = scores.logprobs.begin() + batch.starts[static_cast<std::size_t>(i + 2)];
      expect_same_bits("sampled log-probabilities", completions.at({one.id, i}).logprobs, {begin, end});
      const auto first = scores.entropies.begin() + (begin - scores.logprobs.begin());
      expect_same_bits("entropies", completions.at({one.id, i}).entropies, {first, first + (end - begin)});
    }
  }
}

void company_changes_nothing(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  const auto file = tiny.write();
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 1);
  const ModelConfig& config = engine.model->config;
  std::vector<SampleRequest> requests;
  for (const int length : {1, 20, 32, 40}) {
    if (length + 13 <= config.context) requests.push_back(request(config, length, 0));
  }
  Completions alone;
  for (const SampleRequest& one : requests) {
    Sampler sampler(*engine.model, *engine.adapters, 1, 64, {});
    sampler.submit(one);
    alone.merge(run(sampler));
  }
  for (const auto& [sequences, tokens] : {std::pair{64, 4096}, {2, 4096}, {64, 96}}) {
    Sampler sampler(*engine.model, *engine.adapters, sequences, tokens, {});
    for (const SampleRequest& one : requests) sampler.submit(one);
    const Completions together = run(sampler);
    expect(together.size() == alone.size(), "expected ", alone.size(), " completions, found ", together.size());
    for (const auto& [key, event] : together) {
      expect(event.token_ids == alone.at(key).token_ids, "request ", key.first, ": other tokens in company");
      expect_same_bits("log-probabilities in company", event.logprobs, alone.at(key).logprobs);
    }
  }
}

/// Prompts that begin alike: what they share is computed once, in fewer pages and passes, with the bits of each prompt
/// alone; also where whoever began with it is cancelled after a part of it.
void shared_beginnings_change_nothing(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  const auto file = tiny.write();
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 1);
  std::vector<SampleRequest> requests;
  const auto add = [&](int begins_with, int length, int slot) {
    SampleRequest one = request(engine.model->config, length, slot);
    one.id = static_cast<std::int64_t>(requests.size());
    one.num_generations = 2;
    one.max_completion_length = 3;
    const auto& beginning = random_tokens(begins_with, engine.model->config.vocab, 5);
    one.prompt.insert(one.prompt.begin(), beginning.begin(), beginning.end());
    one.prompt.resize(static_cast<std::size_t>(begins_with + length));
    requests.push_back(one);
  };
  const int pages = 5, shared = pages * kPageSize, longer = 20, alone_rows = 180;
  for (int i = 0; i < 2; ++i) add(0, alone_rows - i, 0);  // which leave four pages of the pass to the next prompt
  add(shared, longer, 0);
  for (const int length : {1, 2, 8, 0}) add(shared, length, 0);
  add(shared, 2, 1);

  Completions alone;
  for (const SampleRequest& one : requests) {
    Sampler sampler(*engine.model, *engine.adapters, 2, 512, {});
    sampler.submit(one);
    alone.merge(run(sampler));
  }
  // Two prompts, the beginning for either slot, the last page of the prompt that ends with it, and ends of completions.
  const int needed = 2 * 5 + 2 * pages + 1 + 2 * static_cast<int>(requests.size());
  for (const bool cancel : {false, true}) {
    Sampler sampler(*engine.model, *engine.adapters, 64, needed * kPageSize, {});
    for (const SampleRequest& one : requests) sampler.submit(one);
    Completions left = alone;
    if (cancel) std::erase_if(left, [](const auto& entry) { return entry.first.first == 2; });
    const std::atomic<bool> abort = false;
    int steps = 0;
    for (; !sampler.idle(); ++steps) {
      if (steps == 1 && cancel) sampler.cancel(2);
      for (const SampleEvent& event : sampler.step(abort)) {
        if (event.reason == "aborted") continue;
        const auto expected = left.extract({event.id, event.completion});
        expect(!expected.empty(), "request ", event.id, " was not expected");
        expect(event.token_ids == expected.mapped().token_ids, "request ", event.id, ": other tokens");
        expect_same_bits("log-probabilities", event.logprobs, expected.mapped().logprobs);
      }
    }
    expect(left.empty(), left.size(), " completions are missing");
    // 359 + 180 + 1 + 2 + 8 + 32 + 162 rows, of which 487 go first: two passes, and two tokens more.
    expect(steps == (cancel ? 5 : 4), "expected 4 steps, found ", steps);
  }
}

/// An adapter that overflows fails its own request; the one beside it is sampled as if it were alone.
void not_finite_fails_one_request(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  Engine engine(candidate.make(dtype, 2), tiny);
  const Basis basis = set_random_adapters(engine, 1);
  const SampleRequest good = request(engine.model->config, 20, 1), bad = request(engine.model->config, 62, 0);
  Sampler alone(*engine.model, *engine.adapters, 8, 256, {});
  alone.submit(good);
  const Completions undisturbed = run(alone);

  std::vector<float> vector = random_vector(basis, 0);
  for (float& value : vector) value *= 1e30F;
  engine.adapters->set_vector(0, vector);
  Sampler sampler(*engine.model, *engine.adapters, 8, 256, {});
  for (const bool bad_first : {true, false}) {  // then the good one gets the pages that held NaN
    const std::atomic<bool> abort = false;
    sampler.submit(bad_first ? bad : good);
    sampler.submit(bad_first ? good : bad);
    int failed = 0, finished = 0;
    while (!sampler.idle()) {
      for (const SampleEvent& event : sampler.step(abort)) {
        if (event.type == SampleEvent::failed) {
          expect(event.id == bad.id && event.code == "ERR_NUMERIC", event.id, " failed: ", event.code);
          ++failed;
          continue;
        }
        expect(event.token_ids == undisturbed.at({event.id, event.completion}).token_ids, "other tokens");
        ++finished;
      }
    }
    expect(failed == 1 && finished == good.num_generations, failed, " failed, ", finished, " finished");
  }
}

void an_aborted_step_can_be_taken_again() {
  TinyModel tiny;
  const auto file = tiny.write();
  Engine engine(make_reference_backend(DType::f32), tiny);
  Sampler sampler(*engine.model, *engine.adapters, 4, 256, {});
  const SampleRequest one = request(engine.model->config, 5, -1);
  sampler.submit(one);
  const Completions undisturbed = run(sampler);
  sampler.submit(one);
  const std::atomic<bool> stop = true, go = false;
  for (int i = 0; i < 3; ++i) {
    expect_error("ERR_ABORTED", "", [&] { sampler.step(stop); });
    expect(sampler.step(go).empty(), "an early event");
  }
  for (const auto& [key, event] : run(sampler))
    expect(event.token_ids == undisturbed.at(key).token_ids, "other tokens");

  Sampler fresh(*engine.model, *engine.adapters, 4, 256, {});
  fresh.submit(one);
  fresh.cancel(one.id);  // before the first step has made anything
  expect(fresh.step(go).size() == 3 && fresh.idle(), "a request is not ended");

  sampler.submit(one);
  sampler.step(go);
  expect(sampler.uses(-1) && !sampler.uses(0), "wrong slots in use");
  expect_error("ERR_ARGUMENT", "no unfinished request", [&] { sampler.submit(one); });
  expect(sampler.end_all().size() == 3 && sampler.idle(), "not everything has ended");
}

void a_failure_is_not_that_of_cancelled_requests() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  Sampler sampler(*engine.model, *engine.adapters, 4, 256, {});
  SampleRequest request;
  request.id = 1;
  request.prompt = {1, 2, 3};
  request.max_completion_length = 20;
  sampler.submit(request);
  request.id = 2;
  sampler.submit(request);
  const std::atomic<bool> go{false};
  sampler.step(go);
  sampler.cancel(1);
  const std::vector<SampleEvent> events = sampler.fail_all("ERR_DEVICE", "the device is gone");
  expect(events.size() == 2 && sampler.idle(), "expected 2 events and no request, found ", events.size());
  expect(events[0].id == 1 && events[0].type == SampleEvent::finished && events[0].reason == "aborted",
         "the cancelled request has not ended as aborted but as ", events[0].reason);
  expect(events[1].type == SampleEvent::failed && events[1].code == "ERR_DEVICE", "the other one has not failed");
}

}  // namespace

void add_engine_sampler_tests(Tests& tests) {
  tests.add("sampler: pages as they are needed", completions_take_pages_as_they_grow);
  tests.add("sampler: drafts", drafts_save_passes_and_change_nothing);
  add_for_each_backend(tests, "sampler: scored log-probabilities", sampled_are_scored_log_probabilities);
  add_for_each_backend(tests, "sampler: company", company_changes_nothing);
  add_for_each_backend(tests, "sampler: shared beginnings", shared_beginnings_change_nothing);
  add_for_each_backend(tests, "sampler: not finite", not_finite_fails_one_request);
  tests.add("sampler: aborted steps", an_aborted_step_can_be_taken_again);
  tests.add("sampler: cancelled before a failure", a_failure_is_not_that_of_cancelled_requests);
}

}  // namespace tinylora::test
