// The gradient of v through the whole model: finite differences, all backends, shared prompts, states that are refused.
#include <cmath>
#include <limits>

#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

std::vector<float> to_floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

/// Gradient of both slots, one after the other, of random weights on the log-probabilities of the batch.
std::vector<float> gradient_of(Engine& engine, ScoreBatch batch) {
  batch.keep = true;
  engine.adapters->zero_gradients();
  engine.backward(random_weights(engine.forward(batch), 77));
  std::vector<double> both = engine.adapters->gradient(0);
  const std::vector<double> second = engine.adapters->gradient(1);
  both.insert(both.end(), second.begin(), second.end());
  return to_floats(both);
}

/// |got - want| / |want|
double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += std::pow(double{got[i]} - double{want[i]}, 2);
    size += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(error / size);
}

void expect_close(const std::string& what, const std::vector<float>& got, const std::vector<float>& want,
                  double tolerance) {
  const double share = relative_error(got, want) / tolerance;
  share_used() = std::max(share_used(), share);
  expect(share <= 1, what, ": expected a relative error of at most ", tolerance, ", found ", share * tolerance);
}

void gradient_is_that_of_finite_differences(const std::string& family) {
  TinyModel tiny(family);
  Engine engine(make_reference_backend(DType::f32), tiny);
  const Basis basis = set_random_adapters(engine, 4);
  const ScoreBatch batch = mixed_batch(tiny.config.vocab);
  const std::vector<float> weights = random_weights(engine.forward(batch), 77);
  const std::vector<float> gradient = gradient_of(engine, batch);
  const auto loss = [&] {
    double sum = 0;
    const ScoreResult scores = engine.forward(batch);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] != 0) sum += double{weights[i]} * double{scores.logprobs[i]};
    }
    return sum;
  };
  std::vector<float> differences;
  constexpr float kStep = 0x1.0p-8F;  // a whole model bends faster than one op; log-probabilities round at 2^-24
  for (int slot = 0; slot < 2; ++slot) {
    std::vector<float> v = random_vector(basis, slot);
    for (float& number : v) {
      const float middle = number;
      number = middle + kStep;
      engine.adapters->set_vector(slot, v);
      const double up = loss(), above = number;
      number = middle - kStep;
      engine.adapters->set_vector(slot, v);
      differences.push_back(static_cast<float>((up - loss()) / (above - number)));
      number = middle;
    }
    engine.adapters->set_vector(slot, v);
  }
  expect_close("gradient", gradient, differences, 5e-3);
}

void gradient_is_that_of_the_reference(const Candidate& candidate, DType dtype) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    TinyModel tiny(family);
    Engine reference(make_reference_backend(dtype), tiny), engine(candidate.make(dtype, 2), tiny);
    set_random_adapters(reference, 4);
    set_random_adapters(engine, 4);
    const ScoreBatch batch = mixed_batch(tiny.config.vocab);
    // In bf16 a rounding that falls to the other side early in the model moves everything after it.
    expect_close(family, gradient_of(engine, batch), gradient_of(reference, batch), dtype == DType::f32 ? 2e-5 : 5e-2);
  }
}

void threads_are_nothing(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen3");
  std::vector<float> first;
  for (const int threads : thread_counts(candidate)) {
    Engine engine(candidate.make(dtype, threads), tiny);
    set_random_adapters(engine, 4);
    const std::vector<float> gradient = gradient_of(engine, mixed_batch(tiny.config.vocab));
    if (first.empty()) first = gradient;
    expect_same_bits(std::to_string(threads) + " threads", gradient, first);
  }
}

void shared_prompt_is_repeated_prompt(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 4);
  ScoreBatch shared, repeated;
  std::vector<float> shared_weights, repeated_weights;
  const auto prompt = random_tokens(45, tiny.config.vocab, 1);
  add_sequence(shared, prompt, -1, 0, false);
  shared_weights.resize(prompt.size());
  for (int child = 0; child < 3; ++child) {
    const auto tokens = random_tokens(1 + 25 * child, tiny.config.vocab, 10 + static_cast<std::uint64_t>(child));
    const auto weights = Random(20 + static_cast<std::uint64_t>(child)).normals(tokens.size());
    add_sequence(shared, tokens, 0, 0, true);
    auto whole = prompt;
    whole.insert(whole.end(), tokens.begin(), tokens.end());
    add_sequence(repeated, whole, -1, 0, true);
    shared_weights.insert(shared_weights.end(), weights.begin(), weights.end());
    repeated_weights.insert(repeated_weights.end(), prompt.size(), 0.0F);
    repeated_weights.insert(repeated_weights.end(), weights.begin(), weights.end());
  }
  shared.keep = repeated.keep = true;
  engine.forward(shared);
  engine.backward(shared_weights);
  const auto once = to_floats(engine.adapters->gradient(0));
  engine.adapters->zero_gradients();
  engine.forward(repeated);
  engine.backward(repeated_weights);
  expect_close("gradient", once, to_floats(engine.adapters->gradient(0)), dtype == DType::f32 ? 1e-5 : 2e-2);
}

/// The same numbers whichever modules the basis has beside it: what is skipped below the first one had no part.
void part_of_the_modules(DType dtype) {
  TinyModel tiny("qwen3");
  Engine engine(make_reference_backend(dtype), tiny);
  const int modules = tiny.config.layers * module_types;
  engine.adapters->set_basis(random_basis(tiny.config, modules));
  const ScoreBatch batch = mixed_batch(tiny.config.vocab);
  const std::vector<float> all = gradient_of(engine, batch);
  for (int module = 0; module < modules; ++module) {
    engine.adapters->set_basis(random_basis(tiny.config, 1, {module}));
    const std::vector<float> own = gradient_of(engine, batch);
    for (std::ptrdiff_t slot = 0; slot < 2; ++slot) {
      const auto expected = all.begin() + 3 * (slot * modules + module);
      expect_same_bits("module " + std::to_string(module), {own.begin() + 3 * slot, own.begin() + 3 * slot + 3},
                       {expected, expected + 3});
    }
  }
}

void gradients_add_up() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 4);
  ScoreBatch batch = mixed_batch(tiny.config.vocab);
  const std::vector<float> once = gradient_of(engine, batch);
  batch.keep = true;
  engine.backward(random_weights(engine.forward(batch), 77));
  std::vector<float> twice = to_floats(engine.adapters->gradient(0));
  for (float& value : twice) value /= 2;
  expect_near("half of two passes", twice, {once.begin(), once.begin() + 12}, {1e-12, 1e-6});
  engine.adapters->zero_gradients();
  for (const double value : engine.adapters->gradient(0)) expect(value == 0, "zero_gradients left ", value);
}

void unscored_tokens_are_not_read() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 1);
  ScoreBatch batch = mixed_batch(tiny.config.vocab);
  const std::vector<float> want = gradient_of(engine, batch);
  batch.keep = true;
  const ScoreResult scores = engine.forward(batch);
  std::vector<float> weights = random_weights(scores, 77);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (std::isnan(scores.logprobs[i])) weights[i] = std::numeric_limits<float>::quiet_NaN();
  }
  engine.adapters->zero_gradients();
  engine.backward(weights);
  expect_same_bits("gradient", to_floats(engine.adapters->gradient(0)), {want.begin(), want.begin() + 3});
}

void plain_pass_leaves_the_kept_one() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 1);
  ScoreBatch batch = mixed_batch(tiny.config.vocab);
  const std::vector<float> want = gradient_of(engine, batch);
  batch.keep = true;
  const std::vector<float> weights = random_weights(engine.forward(batch), 77);
  ScoreBatch other;
  add_sequence(other, random_tokens(150, tiny.config.vocab, 3), -1, -1, true);
  engine.forward(other);
  engine.adapters->zero_gradients();
  engine.backward(weights);
  expect_same_bits("gradient", to_floats(engine.adapters->gradient(0)), {want.begin(), want.begin() + 3});
}

void bad_states_are_refused() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  const Basis basis = set_random_adapters(engine, 1);
  ScoreBatch batch = mixed_batch(tiny.config.vocab);
  std::vector<float> weights(batch.tokens.size(), 1);
  const auto refused = [&](const std::string& part) {
    expect_error("ERR_ARGUMENT", part, [&] { engine.backward(weights); });
  };
  refused("expected a kept forward pass");
  engine.forward(batch);
  refused("expected a kept forward pass");
  batch.keep = true;
  engine.forward(batch);
  engine.backward(weights);
  refused("expected a kept forward pass");
  engine.forward(batch);
  weights.pop_back();
  refused("one a token");
  weights.push_back(1);
  engine.adapters->set_vector(1, random_vector(basis, 1));
  refused("they were changed since");
  engine.forward(batch);
  engine.adapters->set_basis(random_basis(tiny.config, 2));
  refused("they were changed since");
}

void numeric_errors_leave_zero_gradients() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 1);
  ScoreBatch batch = mixed_batch(tiny.config.vocab);
  batch.keep = true;
  std::vector<float> weights = random_weights(engine.forward(batch), 77);
  const float good = weights.back();
  weights.back() = std::numeric_limits<float>::quiet_NaN();
  expect_error("ERR_NUMERIC", "gradients of the log-probabilities", [&] { engine.backward(weights); });
  weights.back() = good;
  for (float& weight : weights) weight *= 1e38F;  // finite, but not their gradient
  expect_error("ERR_NUMERIC", "gradient of the adapters", [&] { engine.backward(weights); });
  engine.forward(batch);
  engine.abort = true;
  expect_error("ERR_ABORTED", "before layer 2", [&] { engine.backward(weights); });
  for (int slot = 0; slot < 2; ++slot) {
    for (const double value : engine.adapters->gradient(slot)) expect(value == 0, "an error left ", value);
  }
}

void bad_bases_are_refused() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  expect_error("ERR_ARGUMENT", "expected a basis first", [&] { engine.adapters->set_vector(0, {}); });
  const Basis good = set_random_adapters(engine, 2);
  const std::vector<float> want = gradient_of(engine, mixed_batch(tiny.config.vocab));
  const auto refused = [&](const std::string& part, const std::function<void(Basis&)>& spoil) {
    Basis basis = good;
    spoil(basis);
    expect_error("ERR_ADAPTER", part, [&] { engine.adapters->set_basis(basis); });
  };
  refused("rank: expected 1 to 16, found 17", [](Basis& basis) { basis.rank = 17; });
  refused("rank: expected 1 to 16, found 0", [](Basis& basis) { basis.rank = 0; });
  refused("u: expected 1 to 65536, found 0", [](Basis& basis) { basis.u = 0; });
  refused("slots: expected 1 to 65536, found -1", [](Basis& basis) { basis.slots = -1; });
  refused("groups: expected 1 to 21, found 22", [](Basis& basis) { basis.groups = 22; });
  refused("modules: expected 1 to 21, found 0", [](Basis& basis) { basis.modules.clear(); });
  refused("module: expected 0 to 20, found 21", [](Basis& basis) { basis.modules[3].module = 21; });
  refused("module 3: found a second time", [](Basis& basis) { basis.modules[10].module = 3; });
  refused("group: expected 0 to 1, found 2", [](Basis& basis) { basis.modules[3].group = 2; });
  refused("module 3: A: expected 96 numbers, found 95", [](Basis& basis) { basis.modules[3].a.pop_back(); });
  refused("module 0: B: expected 96 numbers, found 97", [](Basis& basis) { basis.modules[0].b.push_back(0); });
  refused("P: expected finite", [](Basis& basis) { basis.modules[0].p[1] = std::numeric_limits<float>::infinity(); });
  expect_error("ERR_ADAPTER", "expected 6 numbers, found 5",
               [&] { engine.adapters->set_vector(0, std::vector<float>(5)); });
  expect_error("ERR_NUMERIC", "at 4", [&] {
    engine.adapters->set_vector(0, std::vector<float>{0, 0, 0, 0, std::numeric_limits<float>::quiet_NaN(), 0});
  });
  expect_error("ERR_ARGUMENT", "expected 0 to 1, found 2", [&] { engine.adapters->gradient(2); });
  expect_same_bits("after the refusals", gradient_of(engine, mixed_batch(tiny.config.vocab)), want);
}

}  // namespace

void add_engine_gradient_tests(Tests& tests) {
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    tests.add(std::string("gradient: that of finite differences [") + family + "]",
              [family] { gradient_is_that_of_finite_differences(family); });
  }
  add_for_each_backend(tests, "gradient: that of the reference", gradient_is_that_of_the_reference);
  add_for_each_backend(tests, "gradient: the number of threads does not matter", threads_are_nothing);
  add_for_each_backend(tests, "gradient: a shared prompt = a repeated one", shared_prompt_is_repeated_prompt);
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    tests.add(std::string("gradient: part of the modules [") + name_of(dtype) + "]",
              [dtype] { part_of_the_modules(dtype); });
  }
  tests.add("gradient: passes add up", gradients_add_up);
  tests.add("gradient: unscored tokens are not read", unscored_tokens_are_not_read);
  tests.add("gradient: a plain pass leaves the kept one", plain_pass_leaves_the_kept_one);
  tests.add("gradient: bad states are refused", bad_states_are_refused);
  tests.add("gradient: numeric errors and aborts leave zero gradients", numeric_errors_leave_zero_gradients);
  tests.add("gradient: bad bases are refused", bad_bases_are_refused);
}

}  // namespace tinylora::test
