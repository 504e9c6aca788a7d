// The sampler without JavaScript: its parts, its bookkeeping, and the equality with the training pass.
#include <map>

#include "engine/page_pool.h"
#include "engine/sampler.h"
#include "engine/stop_matcher.h"
#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

void page_pool_gives_each_page_once() {
  PagePool pool(5);
  auto first = pool.take(2);
  auto second = pool.take(3);
  expect(first == std::vector<std::int32_t>{0, 1} && second == std::vector<std::int32_t>{2, 3, 4}, "wrong pages");
  expect(pool.available() == 0 && pool.take(0).empty(), "pages out of nothing");
  pool.give_back(first);
  expect(first.empty() && pool.available() == 2, "pages were not given back");
  expect(pool.take(2) == std::vector<std::int32_t>{0, 1}, "other pages came back");
}

void stop_matcher_sees_matches_across_tokens() {
  const auto matches_at = [](const std::vector<std::string>& stops, const std::vector<std::string>& tokens) {
    StopMatcher matcher;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (matcher.add(tokens[i], stops)) return static_cast<int>(i);
    }
    return -1;
  };
  expect(matches_at({"end"}, {"the ", "e", "n", "d", "."}) == 3, "a match over three tokens");
  expect(matches_at({"end"}, {"the end of"}) == 0, "a match inside a token");
  expect(matches_at({"aab"}, {"a", "a", "a", "b"}) == 3, "a match that begins anew");
  expect(matches_at({"never", "b"}, {"a", "b"}) == 1, "the second string");
  expect(matches_at({"abcd", "x"}, {"a", "b", "c", "d"}) == 3, "the longer of two strings, token by token");
  expect(matches_at({"\xe2\x82\xac"}, {"\xe2", "\x82", "\xac"}) == 2, "a character in three bytes");
  expect(matches_at({"ab"}, {"a", "", "b"}) == 2, "a token without bytes between");
  expect(matches_at({"ab"}, {"a", "c", "b"}) == -1, "no match");
  expect(matches_at({}, {"a"}) == -1, "no strings");
}

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
  result.count = 3;
  result.max_new_tokens = 12;
  result.temperature = 0.8F;
  result.seed = 11;
  result.first_sequence = static_cast<std::uint64_t>(length) * 8;
  return result;
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
    for (int i = 0; i < one.count; ++i)
      add_sequence(batch, completions.at({one.id, i}).token_ids, 0, one.slot, true, one.temperature);
    const ScoreResult scores = engine.forward(batch);
    for (int i = 0; i < one.count; ++i) {
      const auto begin = scores.logprobs.begin() + batch.starts[static_cast<std::size_t>(i + 1)];
      const auto end = scores.logprobs.begin() + batch.starts[static_cast<std::size_t>(i + 2)];
      expect_same_bits("sampled log-probabilities", completions.at({one.id, i}).logprobs, {begin, end});
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
    for (const auto& [key, event] : run(sampler)) {
      expect(event.token_ids == alone.at(key).token_ids, "request ", key.first, ": other tokens in company");
      expect_same_bits("log-probabilities in company", event.logprobs, alone.at(key).logprobs);
    }
  }
}

/// An adapter that overflows fails its own request; the one beside it is sampled as if it were alone.
void not_finite_fails_one_request(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  Engine engine(candidate.make(dtype, 2), tiny);
  const Basis basis = set_random_adapters(engine, 1);
  const SampleRequest good = request(engine.model->config, 20, 1), bad = request(engine.model->config, 5, 0);
  Sampler alone(*engine.model, *engine.adapters, 8, 256, {});
  alone.submit(good);
  const Completions undisturbed = run(alone);

  std::vector<float> vector = random_vector(basis, 0);
  for (float& value : vector) value *= 1e30F;
  engine.adapters->set_vector(0, vector);
  Sampler sampler(*engine.model, *engine.adapters, 8, 256, {});
  for (int round = 0; round < 2; ++round) {  // the pages that held NaN are used again
    const std::atomic<bool> abort = false;
    sampler.submit(bad);
    sampler.submit(good);
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
    expect(failed == 1 && finished == good.count, failed, " failed, ", finished, " finished");
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

  sampler.submit(one);
  sampler.step(go);
  expect(sampler.uses(-1) && !sampler.uses(0), "wrong slots in use");
  expect_error("ERR_ARGUMENT", "no unfinished request", [&] { sampler.submit(one); });
  expect(sampler.end_all().size() == 3 && sampler.idle(), "not everything has ended");
}

}  // namespace

void add_engine_sampler_tests(Tests& tests) {
  tests.add("sampler: page pool", page_pool_gives_each_page_once);
  tests.add("sampler: stop strings", stop_matcher_sees_matches_across_tokens);
  add_for_each_backend(tests, "sampler: scored log-probabilities", sampled_are_scored_log_probabilities);
  add_for_each_backend(tests, "sampler: company", company_changes_nothing);
  add_for_each_backend(tests, "sampler: not finite", not_finite_fails_one_request);
  tests.add("sampler: aborted steps", an_aborted_step_can_be_taken_again);
}

}  // namespace tinylora::test
