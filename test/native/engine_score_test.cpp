// Whole log-probabilities: row invariance, the base model's bits, refused batches.
#include <cmath>

#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

/// Log-probabilities, then entropies, of the tokens of one sequence.
std::vector<float> of_sequence(const ScoreBatch& batch, const ScoreResult& scores, int sequence) {
  const auto index = static_cast<std::size_t>(sequence);
  std::vector<float> values;
  for (const auto* all : {&scores.logprobs, &scores.entropies}) {
    values.insert(values.end(), all->begin() + batch.starts[index], all->begin() + batch.starts[index + 1]);
  }
  return values;
}

std::vector<std::int32_t> tokens_of(const ScoreBatch& batch, int sequence) {
  const auto index = static_cast<std::size_t>(sequence);
  return {batch.tokens.begin() + batch.starts[index], batch.tokens.begin() + batch.starts[index + 1]};
}

/// The sequence in a batch of its own, the parent's tokens before its own.
std::vector<float> scored_alone(Engine& engine, const ScoreBatch& batch, int sequence) {
  const auto index = static_cast<std::size_t>(sequence);
  std::vector<std::int32_t> tokens;
  if (batch.parents[index] >= 0) tokens = tokens_of(batch, batch.parents[index]);
  const std::size_t before = tokens.size();
  const auto own = tokens_of(batch, sequence);
  tokens.insert(tokens.end(), own.begin(), own.end());
  ScoreBatch alone;
  add_sequence(alone, tokens, -1, batch.slots[index], true, batch.temperatures[index]);
  const ScoreResult scores = engine.forward(alone);
  std::vector<float> values(scores.logprobs.begin() + static_cast<std::ptrdiff_t>(before), scores.logprobs.end());
  values.insert(values.end(), scores.entropies.begin() + static_cast<std::ptrdiff_t>(before), scores.entropies.end());
  return values;
}

void packed_equals_alone(const Candidate& candidate, DType dtype) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    TinyModel tiny(family);
    Engine engine(candidate.make(dtype, 2), tiny);
    set_random_adapters(engine, 4);
    ScoreBatch batch = mixed_batch(tiny.config.vocab);
    const ScoreResult scores = engine.forward(batch);
    for (int sequence = 0; sequence < static_cast<int>(batch.parents.size()); ++sequence) {
      if (batch.scored[static_cast<std::size_t>(sequence)] == 0) continue;
      expect_same_bits(std::string(family) + " sequence " + std::to_string(sequence),
                       of_sequence(batch, scores, sequence), scored_alone(engine, batch, sequence));
    }
    batch.keep = true;
    const ScoreResult kept = engine.forward(batch);
    expect_same_bits(std::string(family) + " kept pass", kept.logprobs, scores.logprobs);
  }
}

void order_of_sequences_is_nothing(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 1);
  ScoreBatch forward, backward;
  std::vector<std::vector<std::int32_t>> sequences;
  for (int i = 0; i < 9; ++i)
    sequences.push_back(random_tokens(1 + 7 * i, tiny.config.vocab, static_cast<std::uint64_t>(i)));
  for (int i = 0; i < 9; ++i) add_sequence(forward, sequences[static_cast<std::size_t>(i)], -1, i % 2, true);
  for (int i = 8; i >= 0; --i) add_sequence(backward, sequences[static_cast<std::size_t>(i)], -1, i % 2, true);
  const ScoreResult one = engine.forward(forward), other = engine.forward(backward);
  for (int i = 0; i < 9; ++i) {
    expect_same_bits("sequence " + std::to_string(i), of_sequence(forward, one, i),
                     of_sequence(backward, other, 8 - i));
  }
}

void threads_are_nothing(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen3");
  ScoreResult first;
  for (const int threads : thread_counts(candidate)) {
    Engine engine(candidate.make(dtype, threads), tiny);
    set_random_adapters(engine, 4);
    const ScoreResult scores = engine.forward(mixed_batch(tiny.config.vocab));
    if (first.logprobs.empty()) first = scores;
    expect_same_bits(std::to_string(threads) + " threads", scores.logprobs, first.logprobs);
    expect_same_bits(std::to_string(threads) + " threads, entropies", scores.entropies, first.entropies);
  }
}

void zero_vector_is_the_base_model(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  Engine engine(candidate.make(dtype, 2), tiny);
  const auto tokens = random_tokens(50, tiny.config.vocab, 1);
  ScoreBatch base, zero, other;
  add_sequence(base, tokens, -1, -1, true);
  add_sequence(zero, tokens, -1, 0, true);
  add_sequence(other, tokens, -1, 1, true);
  const ScoreResult before = engine.forward(base);
  const Basis basis = random_basis(tiny.config, 4);
  engine.adapters->set_basis(basis);
  engine.adapters->set_vector(1, random_vector(basis, 1));
  expect_same_bits("slot -1", engine.forward(base).logprobs, before.logprobs);
  expect_same_bits("v = 0", engine.forward(zero).logprobs, before.logprobs);
  expect(engine.forward(other).logprobs[1] != before.logprobs[1], "the adapter changes nothing");
}

/// In the same sum as the update's own formula, but through the weights: W + B R A in a model of its own.
void update_is_that_of_changed_weights() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  const Basis basis = set_random_adapters(engine, 1);
  const std::vector<float> v = random_vector(basis, 0);
  TinyModel changed = tiny;
  const char* names[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                         "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
  for (const BasisModule& module : basis.modules) {
    auto& weight = changed.numbers.at("model.layers." + std::to_string(module.module / module_types) + "." +
                                      names[module.module % module_types] + ".weight");
    const std::size_t in = module.a.size() / 2, out = module.b.size() / 2;
    for (std::size_t cell = 0; cell < 4; ++cell) {
      double r = 0;
      for (std::size_t i = 0; i < 3; ++i) r += double{v[i]} * double{module.p[i * 4 + cell]};
      for (std::size_t o = 0; o < out; ++o) {
        for (std::size_t i = 0; i < in; ++i) {
          weight[o * in + i] +=
              static_cast<float>(double{module.b[o * 2 + cell / 2]} * r * double{module.a[cell % 2 * in + i]});
        }
      }
    }
  }
  Engine merged(make_reference_backend(DType::f32), changed);
  ScoreBatch adapted, base;
  const auto tokens = random_tokens(60, tiny.config.vocab, 3);
  add_sequence(adapted, tokens, -1, 0, true);
  add_sequence(base, tokens, -1, -1, true);
  const auto got = engine.forward(adapted).logprobs, want = merged.forward(base).logprobs;
  expect_near("log-probabilities", {got.begin() + 1, got.end()}, {want.begin() + 1, want.end()}, {1e-4, 0});
}

void scores_are_a_distribution() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  ScoreBatch batch;
  const int prompt = add_sequence(batch, random_tokens(40, tiny.config.vocab, 3), -1, -1, false);
  for (int token = 0; token < tiny.config.vocab; ++token) add_sequence(batch, {token}, prompt, -1, true, 0.8F);
  const ScoreResult scores = engine.forward(batch);
  double sum = 0, entropy = 0;
  for (std::size_t i = 40; i < scores.logprobs.size(); ++i) {
    const double logp = scores.logprobs[i];
    sum += std::exp(logp);
    entropy -= std::exp(logp) * logp;
  }
  for (std::size_t i = 0; i < 40; ++i) expect(std::isnan(scores.logprobs[i]), "an unscored token has a number");
  expect_near("sum of probabilities", {static_cast<float>(sum)}, {1}, {1e-5, 0});
  expect_near("entropy", {scores.entropies.back()}, {static_cast<float>(entropy)}, {1e-5, 0});
}

void bad_batches_are_refused() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 1);
  const ScoreBatch good = mixed_batch(tiny.config.vocab);
  const auto refused = [&](const std::string& part, const std::function<void(ScoreBatch&)>& spoil) {
    ScoreBatch batch = good;
    spoil(batch);
    expect_error("ERR_ARGUMENT", part, [&] { engine.forward(batch); });
  };
  refused("at least one sequence", [](ScoreBatch& batch) { batch = {}, batch.starts = {0}; });
  refused("starts: expected 10 numbers, found 0", [](ScoreBatch& batch) { batch.starts = {}; });
  refused("slots: expected 9 numbers, found 10", [](ScoreBatch& batch) { batch.slots.push_back(0); });
  refused("scored", [](ScoreBatch& batch) { batch.scored.pop_back(); });
  refused("temperatures", [](ScoreBatch& batch) { batch.temperatures.pop_back(); });
  refused("starts: expected them to run from 0", [](ScoreBatch& batch) { batch.starts.front() = 1; });
  refused("starts: expected them to run from 0", [](ScoreBatch& batch) { batch.starts.back() += 1; });
  refused("sequence 3: expected at least one token", [](ScoreBatch& batch) { batch.starts[4] = batch.starts[3]; });
  refused("expected at least one token", [](ScoreBatch& batch) { batch.starts[4] = -5; });
  refused("token 7: expected an id from 0 to 100, found 101", [](ScoreBatch& batch) { batch.tokens[7] = 101; });
  refused("found -1", [](ScoreBatch& batch) { batch.tokens[0] = -1; });
  refused("expected at most 16777216 tokens, found 16777217", [](ScoreBatch& batch) {
    batch.tokens.resize((std::size_t{1} << 24) + 1);
    batch.starts.back() = (1 << 24) + 1;
  });
  refused("sequence 1: parent: expected -1 or a sequence before it, found 1",
          [](ScoreBatch& batch) { batch.parents[1] = 1; });
  refused("found 8", [](ScoreBatch& batch) { batch.parents[1] = 8; });
  refused("found -2", [](ScoreBatch& batch) { batch.parents[1] = -2; });
  refused("parent 1: expected a sequence without parent", [](ScoreBatch& batch) { batch.parents[2] = 1; });
  refused("slot: expected that of its parent", [](ScoreBatch& batch) { batch.slots[2] = 1; });
  refused("slot: expected -1 to 1, found 2", [](ScoreBatch& batch) { batch.slots[7] = 2; });
  refused("slot: expected -1 to 1, found -2", [](ScoreBatch& batch) { batch.slots[7] = -2; });
  for (const float temperature : {0.0F, -1.0F, 1e-40F, 1e31F, HUGE_VALF, std::nanf("")}) {
    refused("temperature: expected 1e-30 to 1e+30, found ",
            [&](ScoreBatch& batch) { batch.temperatures[7] = temperature; });
  }
  ScoreBatch longest;
  const int parent = add_sequence(longest, random_tokens(150, tiny.config.vocab, 1), -1, 0, false);
  add_sequence(longest, random_tokens(50, tiny.config.vocab, 2), parent, 0, true);
  engine.forward(longest);
  add_sequence(longest, random_tokens(51, tiny.config.vocab, 2), parent, 0, true);
  expect_error("ERR_ARGUMENT", "sequence 2: expected at most 200 tokens (the context length), found 201",
               [&] { engine.forward(longest); });
}

void abort_ends_a_pass() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 1);
  ScoreBatch batch = mixed_batch(tiny.config.vocab);
  const ScoreResult before = engine.forward(batch);
  engine.abort = true;
  expect_error("ERR_ABORTED", "before layer 0", [&] { engine.forward(batch); });
  engine.abort = false;
  expect_same_bits("after an abort", engine.forward(batch).logprobs, before.logprobs);
}

void infinite_logits_are_numeric_errors() {
  TinyModel tiny;
  for (float& value : tiny.numbers.at("model.norm.weight")) value = 3e38F;
  Engine engine(make_reference_backend(DType::f32), tiny);
  ScoreBatch batch;
  add_sequence(batch, random_tokens(5, tiny.config.vocab, 1), -1, -1, true);
  expect_error("ERR_NUMERIC", "token 1", [&] { engine.forward(batch); });
}

}  // namespace

void add_engine_score_tests(Tests& tests) {
  add_for_each_backend(tests, "score: packed with shared prompts = alone, bit for bit", packed_equals_alone);
  add_for_each_backend(tests, "score: the order of sequences does not matter", order_of_sequences_is_nothing);
  add_for_each_backend(tests, "score: the number of threads does not matter", threads_are_nothing);
  add_for_each_backend(tests, "score: v = 0 is the base model, bit for bit", zero_vector_is_the_base_model);
  tests.add("score: the update is that of changed weights", update_is_that_of_changed_weights);
  tests.add("score: probabilities sum to 1, their entropy is the entropy", scores_are_a_distribution);
  tests.add("score: bad batches are refused", bad_batches_are_refused);
  tests.add("score: an abort ends a pass and leaves the engine usable", abort_ends_a_pass);
  tests.add("score: infinite logits are ERR_NUMERIC", infinite_logits_are_numeric_errors);
}

}  // namespace tinylora::test
