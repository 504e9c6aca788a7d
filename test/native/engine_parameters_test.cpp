// Gradients of weights through the whole model: finite differences, all backends, any number of threads; updates.
#include <cmath>

#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

std::vector<std::string> all_names(const TinyModel& tiny) {
  std::vector<std::string> names;
  for (const auto& [name, values] : tiny.numbers) names.push_back(name);
  return names;
}

/// An engine that trains all of its weights, or A and B of its adapters; the model's file stays.
struct Training {
  Training(std::unique_ptr<Backend> backend, const std::string& family, bool basis)
      : tiny(family), engine(std::move(backend), tiny), file(tiny.write()) {
    set_random_adapters(engine, 4);
    if (basis) {
      engine.parameters->train_basis();
    } else {
      engine.parameters->train_weights(all_names(tiny), tiny.tensors);
    }
  }

  std::vector<std::vector<float>> gradients() {
    ScoreBatch batch = mixed_batch(tiny.config.vocab);
    batch.keep = true;
    engine.parameters->zero_gradients();
    engine.backward(random_weights(engine.forward(batch), 77));
    std::vector<std::vector<float>> result;
    for (int i = 0; i < count(); ++i) result.push_back(engine.parameters->read(i, Parameters::gradient));
    return result;
  }
  int count() const { return static_cast<int>(engine.parameters->tensors().size()); }

  TinyModel tiny;
  Engine engine;
  std::unique_ptr<TemporaryFile> file;
};

/// |got - want| / |want|
double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, size = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += std::pow(double{got[i]} - double{want[i]}, 2);
    size += std::pow(double{want[i]}, 2);
  }
  return size == 0 ? error : std::sqrt(error / size);
}

void expect_close(const std::string& what, const std::vector<float>& got, const std::vector<float>& want,
                  double tolerance) {
  const double share = relative_error(got, want) / tolerance;
  share_used() = std::max(share_used(), share);
  expect(share <= 1, what, ": expected a relative error of at most ", tolerance, ", found ", share * tolerance);
}

/// The slope along a random direction, tensor by tensor: every entry has a part in it.
void gradient_is_that_of_finite_differences(const std::string& family, bool basis) {
  Training training(make_reference_backend(DType::f32), family, basis);
  Engine& engine = training.engine;
  const std::vector<std::vector<float>> gradients = training.gradients();
  const ScoreBatch batch = mixed_batch(training.tiny.config.vocab);
  const std::vector<float> weights = random_weights(engine.forward(batch), 77);
  const auto loss = [&] {
    double sum = 0;
    const ScoreResult scores = engine.forward(batch);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] != 0) sum += double{weights[i]} * double{scores.logprobs[i]};
    }
    return sum;
  };
  std::vector<float> slopes, differences;
  for (int i = 0; i < training.count(); ++i) {
    const std::vector<float> middle = engine.parameters->read(i, Parameters::master);
    const std::vector<float>& gradient = gradients[static_cast<std::size_t>(i)];
    double size = 0;
    for (const float value : gradient) size += double{value} * double{value};
    size = std::sqrt(size);
    // Along the gradient, where the slope is largest, and a little aside.
    std::vector<float> direction = Random(static_cast<std::uint64_t>(i) + 1).normals(middle.size(), 0.3);
    const double root = std::sqrt(static_cast<double>(middle.size()));
    double slope = 0;
    for (std::size_t j = 0; j < middle.size(); ++j) {
      direction[j] = static_cast<float>((double{direction[j]} / root + double{gradient[j]} / size) * 0x1.0p-9);
    }
    const auto moved = [&](float sign) {
      std::vector<float> values = middle;
      for (std::size_t j = 0; j < values.size(); ++j) values[j] += sign * direction[j];
      engine.parameters->write(i, Parameters::master, values);
      return loss();
    };
    for (std::size_t j = 0; j < middle.size(); ++j) slope += double{gradient[j]} * double{direction[j]};
    const double difference = (moved(1) - moved(-1)) / 2;
    engine.parameters->write(i, Parameters::master, middle);
    const std::string name = engine.parameters->tensors()[static_cast<std::size_t>(i)].name;
    expect_close(name, {static_cast<float>(slope)}, {static_cast<float>(difference)}, 1e-2);
  }
}

void gradient_is_that_of_the_reference(const Candidate& candidate, DType dtype) {
  for (const bool basis : {true, false}) {
    for (const char* family : {"llama", "qwen2", "qwen3"}) {
      Training reference(make_reference_backend(dtype), family, basis),
          training(candidate.make(dtype, 2), family, basis);
      const auto want = reference.gradients(), got = training.gradients();
      for (std::size_t i = 0; i < want.size(); ++i) {
        const std::string name = reference.engine.parameters->tensors()[i].name;
        expect_close(std::string(family) + " " + name, got[i], want[i], dtype == DType::f32 ? 5e-5 : 1e-1);
      }
    }
  }
}

UpdateOptions adamw(std::int64_t updates) {
  return {
      .adamw = true, .rate = 0.01, .max_norm = 1, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .updates = updates};
}

void threads_are_nothing(const Candidate& candidate, DType dtype) {
  for (const bool basis : {true, false}) {
    std::vector<std::vector<float>> first;
    for (const int threads : thread_counts(candidate)) {
      Training training(candidate.make(dtype, threads), "qwen3", basis);
      for (std::int64_t updates = 1; updates <= 2; ++updates) {
        training.gradients();
        training.engine.parameters->update(adamw(updates));
      }
      std::vector<std::vector<float>> masters;
      for (int i = 0; i < training.count(); ++i) {
        masters.push_back(training.engine.parameters->read(i, Parameters::master));
      }
      if (first.empty()) first = masters;
      for (std::size_t i = 0; i < masters.size(); ++i) {
        expect_same_bits(std::to_string(threads) + " threads", masters[i], first[i]);
      }
    }
  }
}

/// Without a gradient an update is decay alone: of matrices, not of norms and biases.
void matrices_alone_decay(const Candidate& candidate, DType dtype) {
  for (const bool adam : {true, false}) {
    Training training(candidate.make(dtype, 2), "qwen2", false);
    Parameters& parameters = *training.engine.parameters;
    std::vector<std::vector<float>> before;
    for (int i = 0; i < training.count(); ++i) before.push_back(parameters.read(i, Parameters::master));
    UpdateOptions options = adamw(1);
    options.adamw = adam;
    options.decay = 12.5;  // times the rate: 1/8
    parameters.zero_gradients();
    parameters.update(options);
    for (int i = 0; i < training.count(); ++i) {
      const Parameters::Tensor tensor = parameters.tensors()[static_cast<std::size_t>(i)];
      std::vector<float> want = before[static_cast<std::size_t>(i)];
      for (float& value : want) value *= tensor.vector ? 1.0F : 0.875F;
      expect_near(tensor.name, parameters.read(i, Parameters::master), want, {0, 1e-6});
    }
  }
}

std::vector<float> scores_of(Training& training) {
  ScoreBatch batch;
  add_sequence(batch, random_tokens(40, training.tiny.config.vocab, 9), -1, 0, true);
  std::vector<float> scores = training.engine.forward(batch).logprobs;
  scores.front() = 0;  // NaN: nothing predicts the first token
  return scores;
}

void updates_go_down(const Candidate& candidate, DType dtype) {
  for (const bool basis : {true, false}) {
    Training training(candidate.make(dtype, 2), "qwen2", basis);
    ScoreBatch batch;
    add_sequence(batch, random_tokens(40, training.tiny.config.vocab, 9), -1, 0, true);
    batch.keep = true;
    std::vector<double> losses;
    for (std::int64_t step = 1; step <= 20; ++step) {
      training.engine.parameters->zero_gradients();
      const ScoreResult scores = training.engine.forward(batch);
      double loss = 0;
      for (std::size_t i = 1; i < scores.logprobs.size(); ++i) loss -= double{scores.logprobs[i]};
      losses.push_back(loss);
      training.engine.backward(std::vector<float>(scores.logprobs.size(), -1));
      training.engine.parameters->update(adamw(step));
    }
    expect(losses.back() < 0.7 * losses.front(), "expected the loss to fall, found ", losses.front(), " and ",
           losses.back());
  }
}

void saved_is_restored(const Candidate& candidate, DType dtype) {
  for (const bool basis : {true, false}) {
    Training training(candidate.make(dtype, 2), "qwen2", basis);
    const std::vector<float> before = scores_of(training);
    training.engine.parameters->save();
    training.gradients();
    training.engine.parameters->update(adamw(1));
    const std::vector<float> after = scores_of(training);
    expect(after != before, "an update changed nothing");
    training.engine.parameters->restore();
    expect_same_bits("restored", scores_of(training), before);
    training.gradients();
    training.engine.parameters->update(adamw(1));
    expect_same_bits("again", scores_of(training), after);
  }
}

/// fp32 masters of weights that the engine keeps in `dtype`: choosing them changes nothing.
void chosen_weights_are_the_same(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen3");
  Engine engine(candidate.make(dtype, 2), tiny);
  ScoreBatch batch;
  add_sequence(batch, random_tokens(40, tiny.config.vocab, 9), -1, -1, true);
  std::vector<float> before = engine.forward(batch).logprobs;
  const auto file = tiny.write();
  engine.parameters->train_weights(all_names(tiny), tiny.tensors);
  std::vector<float> after = engine.forward(batch).logprobs;
  before.front() = after.front() = 0;
  expect_same_bits("log-probabilities", after, before);
}

void bad_states_are_refused() {
  Training training(make_reference_backend(DType::f32), "qwen2", false);
  Parameters& parameters = *training.engine.parameters;
  expect_error("ERR_ARGUMENT", "no weight of this model",
               [&] { parameters.train_weights({"model.norm.bias"}, training.tiny.tensors); });
  expect_error("ERR_ARGUMENT", "restore: expected saved weights", [&] { parameters.restore(); });
  expect_error("ERR_ARGUMENT", "trained tensor: expected", [&] { parameters.read(10000, Parameters::master); });
  expect_error("ERR_ARGUMENT", "expected", [&] { parameters.write(0, Parameters::master, {1, 2}); });
  const std::vector<float> before = scores_of(training);
  std::vector<float> bad = parameters.read(0, Parameters::gradient);
  parameters.zero_gradients();
  bad[0] = 1e30F;
  parameters.write(0, Parameters::gradient, bad);
  training.gradients();
  ScoreBatch batch = mixed_batch(training.tiny.config.vocab);
  batch.keep = true;
  training.engine.forward(batch);
  parameters.update(adamw(1));
  expect_error("ERR_ARGUMENT", "they were changed since",
               [&] { training.engine.backward(std::vector<float>(batch.tokens.size(), 0)); });
  parameters.clear();
  expect_error("ERR_ARGUMENT", "update: expected weights", [&] { parameters.update(adamw(1)); });
}

/// The scaled backward pass of fp16 shows nowhere: gradients, their norm, moments and a step of each optimiser are
/// those of fp32, within the rounding of fp16.
void fp16_is_near_fp32(const Candidate& candidate, DType dtype) {
  constexpr double kTolerance = 2e-2;
  for (const bool basis : {true, false}) {
    for (const bool adam : {true, false}) {
      Training want(make_reference_backend(DType::f32), "qwen3", basis), got(candidate.make(dtype, 2), "qwen3", basis);
      const auto wanted = want.gradients(), found = got.gradients();
      UpdateOptions options = adamw(1);
      options.adamw = adam;
      options.max_norm = 0.5;
      const auto norm = [&](Training& training) {
        return std::vector<float>{static_cast<float>(training.engine.parameters->update(options))};
      };
      expect_close("norm", norm(got), norm(want), kTolerance);
      for (int i = 0; i < want.count(); ++i) {
        const std::string name = want.engine.parameters->tensors()[static_cast<std::size_t>(i)].name;
        const auto at = static_cast<std::size_t>(i);
        expect_close(name, found[at], wanted[at], kTolerance);
        for (const auto part : {Parameters::first_moment, Parameters::second_moment, Parameters::master}) {
          expect_close(name, got.engine.parameters->read(i, part), want.engine.parameters->read(i, part),
                       2 * kTolerance);
        }
      }
    }
  }
}

/// Two passes add up, and what is written as a gradient is what is read.
void gradients_add_up(const Candidate& candidate, DType dtype) {
  Training training(candidate.make(dtype, 2), "qwen2", false);
  const auto once = training.gradients();
  ScoreBatch batch = mixed_batch(training.tiny.config.vocab);
  batch.keep = true;
  training.engine.backward(random_weights(training.engine.forward(batch), 77));
  for (int i = 0; i < training.count(); ++i) {
    std::vector<float> twice = once[static_cast<std::size_t>(i)];
    for (float& value : twice) value *= 2;
    expect_close("twice", training.engine.parameters->read(i, Parameters::gradient), twice, 1e-4);
    training.engine.parameters->write(i, Parameters::gradient, twice);
    expect_same_bits("written", training.engine.parameters->read(i, Parameters::gradient), twice);
  }
}

/// An overflow in the backward pass says so, and no weight has changed.
void fp16_overflow_is_told(const Candidate& candidate, DType dtype) {
  for (const bool basis : {true, false}) {
    Training training(candidate.make(dtype, 2), "qwen2", basis);
    const std::vector<float> before = scores_of(training);
    ScoreBatch batch = mixed_batch(training.tiny.config.vocab);
    batch.keep = true;
    std::vector<float> large = random_weights(training.engine.forward(batch), 77);
    for (float& value : large) value *= 0x1.0p20F;
    // v of the adapters is trained in either case, and looked at first.
    expect_error("ERR_NUMERIC", "dtype fp16 ends at 65504", [&] {
      training.engine.backward(large);
      training.engine.parameters->update(adamw(1));
    });
    expect_same_bits("scores", scores_of(training), before);
    for (const auto& gradient : training.gradients()) {
      for (const float value : gradient) expect(std::isfinite(value), "expected what overflowed to be forgotten");
    }
    std::vector<float> bad = training.engine.parameters->read(0, Parameters::gradient);
    bad[0] = 1e38F;
    training.engine.parameters->write(0, Parameters::gradient, bad);
    expect_error("ERR_NUMERIC", "update: the gradient is NaN or infinite: dtype fp16 ends at 65504",
                 [&] { training.engine.parameters->update(adamw(1)); });
    expect_same_bits("scores", scores_of(training), before);
  }
}

}  // namespace

void add_engine_parameters_tests(Tests& tests) {
  for (const bool basis : {true, false}) {
    for (const char* family : {"llama", "qwen2", "qwen3"}) {
      tests.add(std::string("parameters: gradient of finite differences [") + family + (basis ? " lora]" : " full]"),
                [=] { gradient_is_that_of_finite_differences(family, basis); });
    }
  }
  add_for_each_backend(tests, "parameters: gradient of the reference", gradient_is_that_of_the_reference);
  add_for_each_backend(tests, "parameters: the number of threads does not matter", threads_are_nothing);
  add_for_each_backend(tests, "parameters: updates lower the loss", updates_go_down);
  add_for_each_backend(tests, "parameters: matrices alone decay", matrices_alone_decay);
  add_for_each_backend(tests, "parameters: saved and restored", saved_is_restored);
  add_for_each_backend(tests, "parameters: chosen weights are the same", chosen_weights_are_the_same);
  add_for_each_backend(tests, "parameters: passes add up", gradients_add_up);
  add_for_each_backend(tests, "parameters: fp16 is near fp32", fp16_is_near_fp32, {DType::f16});
  add_for_each_backend(tests, "parameters: an overflow of fp16 is told", fp16_overflow_is_told, {DType::f16});
  tests.add("parameters: bad states are refused", bad_states_are_refused);
}

}  // namespace tinylora::test
