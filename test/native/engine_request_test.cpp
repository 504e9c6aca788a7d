// Sampling requests without JavaScript: which are refused, how many tokens and pages they take, how they end, and that
// every option has its part in the draw.
#include <algorithm>
#include <limits>
#include <map>

#include "engine/sampler.h"
#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

using Completions = std::map<int, SampleEvent>;

struct Run {
  Completions finished;
  std::vector<std::vector<SampleEvent>> tokens;  // of each step
};

/// Steps until nothing is left.
Run run(Sampler& sampler) {
  const std::atomic<bool> abort = false;
  Run result;
  for (int steps = 0; !sampler.idle(); ++steps) {
    expect(steps < 10000, "the sampler does not come to an end");
    result.tokens.emplace_back();
    for (SampleEvent& event : sampler.step(abort)) {
      expect(event.type != SampleEvent::failed, "request ", event.id, ": ", event.reason);
      if (event.type == SampleEvent::tokens) {
        result.tokens.back().push_back(std::move(event));
      } else {
        const int completion = event.completion;
        expect(result.finished.emplace(completion, std::move(event)).second, "a completion finished twice");
      }
    }
  }
  return result;
}

/// Every token is its id's letter.
TokenBytes letters(int vocab) {
  TokenBytes bytes;
  bytes.offsets.push_back(0);
  for (int id = 0; id < vocab; ++id) {
    bytes.bytes.push_back(static_cast<std::uint8_t>('!' + id % 90));
    bytes.offsets.push_back(static_cast<std::uint32_t>(bytes.bytes.size()));
  }
  return bytes;
}

struct Case {
  explicit Case(std::unique_ptr<Backend> backend = make_reference_backend(DType::f32),
                const TinyModel& model = TinyModel())
      : tiny(model), engine(std::move(backend), tiny) {}
  TinyModel tiny;
  Engine engine;

  Sampler sampler(int sequences, int cache_tokens) {
    return {*engine.model, *engine.adapters, sequences, cache_tokens, letters(tiny.config.vocab)};
  }
  SampleRequest request(int length) const {
    SampleRequest result;
    result.id = 1;
    result.prompt = random_tokens(length, tiny.config.vocab, 7);
    result.max_completion_length = 12;
    result.seed = 3;
    result.first_sequence = 40;
    return result;
  }
  /// The first completion of a request that is alone.
  SampleEvent sample(const SampleRequest& request) {
    Sampler alone = sampler(4, 256);
    alone.submit(request);
    return std::move(run(alone).finished.at(0));
  }
};

void bad_ones_are_refused() {
  Case of;
  set_random_adapters(of.engine, 1);
  Sampler sampler = of.sampler(4, 64);
  const auto refused = [&](const std::string& part, const std::function<void(SampleRequest&)>& spoil) {
    SampleRequest request = of.request(5);
    spoil(request);
    expect_error("ERR_ARGUMENT", part, [&] { sampler.submit(request); });
    expect(sampler.idle(), "a refused request is there");
  };
  refused("prompt: expected at least one token", [](SampleRequest& r) { r.prompt.clear(); });
  refused("fewer tokens than the context length (200), found 200", [](SampleRequest& r) { r.prompt.assign(200, 1); });
  refused("prompt: expected ids from 0 to 100, found 101", [](SampleRequest& r) { r.prompt.back() = 101; });
  refused("prompt: expected ids from 0 to 100, found -1", [](SampleRequest& r) { r.prompt.front() = -1; });
  refused("stop_tokens: expected ids from 0 to 100, found 101", [](SampleRequest& r) { r.stop_tokens = {101}; });
  refused("slot: expected -1 to 1, found 2", [](SampleRequest& r) { r.slot = 2; });
  refused("slot: expected -1 to 1, found -2", [](SampleRequest& r) { r.slot = -2; });
  refused("num_generations: expected 1 to 65536, found 0", [](SampleRequest& r) { r.num_generations = 0; });
  refused("num_generations: expected 1 to 65536, found 65537", [](SampleRequest& r) { r.num_generations = 65537; });
  refused("max_completion_length: expected 1 or more, found 0", [](SampleRequest& r) { r.max_completion_length = 0; });
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float temperature : {-1.0F, infinity, 1e-40F, 1e31F, std::numeric_limits<float>::quiet_NaN()}) {
    refused("temperature: expected 0, or 1e-30 to 1e+30, found ",
            [&](SampleRequest& r) { r.temperature = temperature; });
  }
  for (const float top_p : {0.0F, 1.01F}) {
    refused("top_p: expected more than 0 and at most 1", [&](SampleRequest& r) { r.top_p = top_p; });
  }
  for (const float min_p : {-0.1F, 1.1F}) {
    refused("min_p: expected 0 to 1", [&](SampleRequest& r) { r.min_p = min_p; });
  }
  refused("top_k: expected 0 or more, found -1", [](SampleRequest& r) { r.top_k = -1; });
  refused("stop_strings: expected none that is empty", [](SampleRequest& r) { r.stop_strings = {"a", ""}; });
  refused(
      "prompt and completion of 66 tokens: expected at most 65, the 64 positions of the cache (cache_tokens) and the "
      "last token",
      [](SampleRequest& r) { r.max_completion_length = 61; });

  Sampler without_bytes(*of.engine.model, *of.engine.adapters, 4, 64, {});
  SampleRequest with_stop = of.request(5);
  with_stop.stop_strings = {"a"};
  expect_error("ERR_ARGUMENT", "loaded with the bytes of its tokens", [&] { without_bytes.submit(with_stop); });
}

void bad_samplers_are_refused() {
  Case of;
  const auto refused = [&](const std::string& part, int sequences, int cache_tokens, TokenBytes bytes = {}) {
    expect_error("ERR_ARGUMENT", part,
                 [&] { Sampler(*of.engine.model, *of.engine.adapters, sequences, cache_tokens, std::move(bytes)); });
  };
  refused("sequences: expected 1 to 65536, found 0", 0, 64);
  refused("sequences: expected 1 to 65536, found 65537", 65537, 64);
  refused("tokens of the cache: expected 32 to 268435456, found 31", 1, 31);
  refused("tokens of the cache: expected 32 to 268435456, found 268435457", 1, (1 << 28) + 1);
  refused("ascending offsets up to 2", 1, 64, {.bytes = {1, 2}, .offsets = {0, 2, 1}});
  refused("ascending offsets up to 2", 1, 64, {.bytes = {1, 2}, .offsets = {0, 3}});
}

/// A cache of exactly the pages that a request fills: the last token is not stored, and a page begun counts whole.
void pages_to_the_last_token() {
  Case of;
  for (const auto& [length, count] : {std::pair{32, 1}, {31, 2}, {32, 2}, {1, 32}, {1, 33}, {20, 45}, {20, 46}}) {
    SampleRequest request = of.request(length);
    request.max_completion_length = count;
    const int pages = (length + count - 1 + 31) / 32;
    for (const int tokens : {32 * pages, 32 * pages - 31}) {  // the cache has whole pages
      if (tokens < 32) continue;
      Sampler sampler = of.sampler(1, tokens);
      sampler.submit(request);
      expect(static_cast<int>(run(sampler).finished.at(0).token_ids.size()) == count, "another number of tokens");
    }
    if (pages == 1) continue;
    Sampler small = of.sampler(1, 32 * (pages - 1));
    expect_error("ERR_ARGUMENT", "of the cache", [&] { small.submit(request); });
  }
  SampleRequest longest = of.request(190);
  longest.max_completion_length = 1000;
  const SampleEvent cut = of.sample(longest);
  expect(cut.token_ids.size() == 10 && cut.reason == "length", "the context has 200 tokens, found ",
         cut.token_ids.size(), " behind 190");
}

/// The draw hangs on the token's place in the sequence, not on where the prompt ends: what a completion has said may as
/// well stand in the prompt.
void a_completion_can_be_continued(const Candidate& candidate, DType dtype) {
  Case of(candidate.make(dtype, 2));
  for (const int length : {3, 30}) {
    const SampleRequest whole = of.request(length);
    const SampleEvent first = of.sample(whole);
    for (const int said : {1, 5}) {
      SampleRequest rest = whole;
      rest.prompt.insert(rest.prompt.end(), first.token_ids.begin(), first.token_ids.begin() + said);
      rest.max_completion_length = whole.max_completion_length - said;
      const SampleEvent second = of.sample(rest);
      expect(std::equal(second.token_ids.begin(), second.token_ids.end(), first.token_ids.begin() + said,
                        first.token_ids.end()),
             "other tokens behind ", length, " + ", said);
      expect_same_bits("log-probabilities", second.logprobs, {first.logprobs.begin() + said, first.logprobs.end()});
    }
  }
}

/// Each of them alone leaves the likeliest token only.
void every_option_has_its_part() {
  Case of;
  const auto tokens = [&](const std::function<void(SampleRequest&)>& change) {
    SampleRequest request = of.request(9);
    change(request);
    return of.sample(request).token_ids;
  };
  const auto greedy = tokens([](SampleRequest& r) { r.temperature = 0; });
  const auto free = tokens([](SampleRequest&) {});
  expect(free != greedy, "the free draw is greedy");
  expect(tokens([](SampleRequest& r) { r.top_k = 1; }) == greedy, "top_k 1 is not greedy");
  expect(tokens([](SampleRequest& r) { r.top_p = 1e-6F; }) == greedy, "a small top_p is not greedy");
  expect(tokens([](SampleRequest& r) { r.min_p = 1; }) == greedy, "min_p 1 is not greedy");
  expect(tokens([](SampleRequest& r) { r.temperature = 1e-4F; }) == greedy, "a low temperature is not greedy");
  expect(tokens([](SampleRequest& r) { r.seed = 4; }) != free, "the seed has no part");
  expect(tokens([](SampleRequest& r) { r.first_sequence = 41; }) != free, "the sequence has no part");

  SampleRequest group = of.request(9);
  group.num_generations = 3;
  group.first_sequence = 39;
  Sampler sampler = of.sampler(4, 256);
  sampler.submit(group);
  expect(run(sampler).finished.at(1).token_ids == free, "the second completion is not of the second sequence");
}

void ends_and_events() {
  Case of;
  set_random_adapters(of.engine, 1);
  SampleRequest request = of.request(9);
  request.slot = 1;
  request.stream = true;
  Sampler sampler = of.sampler(4, 256);
  sampler.submit(request);
  expect(sampler.uses(1) && !sampler.uses(0) && !sampler.uses(-1), "wrong slots in use");
  expect(sampler.cache_bytes() == 0 && sampler.activation_bytes() == 0, "memory before the first step");
  const Run all = run(sampler);
  expect(sampler.cache_bytes() > 0 && sampler.activation_bytes() > 0, "no memory after the last step");
  const SampleEvent& free = all.finished.at(0);
  expect(free.reason == "length" && free.version == 1, "ended by ", free.reason, ", version ", free.version);
  std::vector<std::int32_t> streamed;
  for (const auto& step : all.tokens) {
    for (const SampleEvent& event : step)
      streamed.insert(streamed.end(), event.token_ids.begin(), event.token_ids.end());
  }
  expect(streamed == free.token_ids && free.token_ids.size() == 12, "streamed are other tokens");

  const auto end = std::find(free.token_ids.begin(), free.token_ids.end(), free.token_ids[6]) + 1;
  const std::vector<std::int32_t> cut(free.token_ids.begin(), end);
  SampleRequest by_token = request;
  by_token.stop_tokens = {cut.back()};
  const SampleEvent stopped = of.sample(by_token);
  expect(stopped.reason == "stop" && stopped.token_ids == cut, "a stop token");

  // The last token of the table has bytes too; one beyond it has none.
  const TokenBytes bytes = letters(of.tiny.config.vocab);
  expect(bytes.of(of.tiny.config.vocab - 1).size() == 1 && bytes.of(of.tiny.config.vocab).empty(), "bytes of a token");
  SampleRequest by_string = request;
  by_string.stop_strings = {"no such text at all",
                            std::string(bytes.of(cut[cut.size() - 2])) + std::string(bytes.of(cut.back()))};
  const SampleEvent spelled = of.sample(by_string);
  expect(spelled.reason == "stop" && spelled.token_ids.size() <= cut.size(), "a stop string");
}

/// What is cancelled before it has begun gives its place to nobody: it had none.
void cancelled_ones_leave_their_places() {
  Case of;
  const auto with_id = [&](std::int64_t id, int count) {
    SampleRequest request = of.request(9);
    request.id = id;
    request.num_generations = count;
    request.stream = true;
    return request;
  };
  Sampler sampler = of.sampler(2, 256);
  sampler.submit(with_id(1, 1));
  sampler.submit(with_id(2, 8));
  const std::atomic<bool> go = false;
  sampler.step(go);
  sampler.cancel(2);
  sampler.cancel(99);
  std::vector<SampleEvent> ended = sampler.step(go);
  expect(ended.size() == 8 && ended[0].id == 2 && ended[0].reason == "aborted", "request 2 was not cancelled");
  sampler.submit(with_id(3, 6));
  sampler.cancel(99);  // is not remembered
  for (int steps = 0; !sampler.idle(); ++steps) {
    expect(steps < 1000, "the sampler does not come to an end");
    const std::vector<SampleEvent> events = sampler.step(go);
    const auto drawn = std::count_if(events.begin(), events.end(),
                                     [](const SampleEvent& event) { return event.type == SampleEvent::tokens; });
    expect(drawn <= 2, drawn, " tokens in a step of at most two sequences");
  }
}

/// Prompts that take several passes, beside each other and beside completions that run.
void long_prompts_take_several_passes() {
  TinyModel tiny;
  tiny.config.context = 1024;
  tiny.config.layers = 1;
  Case of(make_reference_backend(DType::f32), TinyModel(tiny.config));
  const auto sampled = [&](const std::vector<int>& lengths) {
    Sampler sampler = of.sampler(8, 4096);
    for (const int length : lengths) {
      SampleRequest request = of.request(length);
      request.id = length;
      request.max_completion_length = 3;
      sampler.submit(request);
    }
    const std::atomic<bool> go = false;
    std::map<std::int64_t, std::vector<std::int32_t>> tokens;
    while (!sampler.idle()) {
      for (const SampleEvent& event : sampler.step(go)) tokens[event.id] = event.token_ids;
    }
    return tokens;
  };
  const std::vector<int> lengths = {5, 500, 530, 20};
  const auto together = sampled(lengths);
  for (const int length : lengths) {
    expect(sampled({length}).at(length) == together.at(length), "other tokens behind a prompt of ", length);
  }
}

}  // namespace

void add_engine_request_tests(Tests& tests) {
  tests.add("requests: bad ones are refused", bad_ones_are_refused);
  tests.add("requests: bad samplers are refused", bad_samplers_are_refused);
  tests.add("requests: pages to the last token", pages_to_the_last_token);
  add_for_each_backend(tests, "requests: a completion continued", a_completion_can_be_continued);
  tests.add("requests: every option has its part", every_option_has_its_part);
  tests.add("requests: ends and events", ends_and_events);
  tests.add("requests: cancelled ones", cancelled_ones_leave_their_places);
  tests.add("requests: long prompts", long_prompts_take_several_passes);
}

}  // namespace tinylora::test
