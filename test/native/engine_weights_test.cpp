// What is trained and how: any one weight, its name, versions of what sequences see, the size of a step, refusals.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

void go_back(Engine& engine, const TinyModel& tiny) {
  const int slot = engine.adapters->slots() == 0 ? -1 : 0;
  ScoreBatch batch;
  const int prompt = add_sequence(batch, random_tokens(11, tiny.config.vocab, 1), -1, slot, true);
  add_sequence(batch, random_tokens(5, tiny.config.vocab, 2), prompt, slot, true);
  batch.keep = true;
  engine.parameters->zero_gradients();
  engine.backward(random_weights(engine.forward(batch), 77));
}

/// Alone, a weight has the gradient that it has among all.
void one_weight_alone() {
  for (const char* family : {"qwen2", "qwen3"}) {
    TinyModel tiny(family);
    Engine engine(make_reference_backend(DType::f32), tiny);
    const auto file = tiny.write();
    std::vector<std::string> names;
    for (const auto& [name, values] : tiny.numbers) names.push_back(name);
    engine.parameters->train_weights(names, tiny.tensors);
    go_back(engine, tiny);
    std::map<std::string, std::vector<float>> want;
    const std::vector<Parameters::Tensor> tensors = engine.parameters->tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i)
      want[tensors[i].name] = engine.parameters->read(static_cast<int>(i), Parameters::gradient);
    expect(want.size() == names.size(), "expected all weights to be trained");
    for (const std::string& name : names) {
      engine.parameters->train_weights({name}, tiny.tensors);
      go_back(engine, tiny);
      expect_same_bits(name, engine.parameters->read(0, Parameters::gradient), want.at(name));
    }
  }
}

void factors_have_names() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  engine.adapters->set_basis(random_basis(tiny.config, 1, {module_types + 2, 6}));
  engine.parameters->train_basis();
  const std::vector<Parameters::Tensor> tensors = engine.parameters->tensors();
  const char* const names[] = {"model.layers.0.mlp.down_proj.lora_A", "model.layers.0.mlp.down_proj.lora_B",
                               "model.layers.1.self_attn.v_proj.lora_A", "model.layers.1.self_attn.v_proj.lora_B"};
  const int columns[] = {tiny.config.intermediate, tiny.config.hidden, tiny.config.hidden,
                         tiny.config.kv_heads * tiny.config.head_dim};
  expect(tensors.size() == 4, "expected 4 factors, found ", tensors.size());
  for (std::size_t i = 0; i < 4; ++i) {
    expect(tensors[i].name == names[i] && tensors[i].rows == 2 && tensors[i].columns == columns[i], "expected ",
           names[i], " [2, ", columns[i], "], found ", tensors[i].name, " [", tensors[i].rows, ", ", tensors[i].columns,
           "]");
  }
}

/// Of the base model where its weights are trained, of the slots in either case.
void versions_tell_of_changes() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  const auto file = tiny.write();
  set_random_adapters(engine, 1);
  const UpdateOptions step{.adamw = true, .rate = 0.01, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .updates = 1};
  const auto after = [&](const char* what, bool base, const std::function<void()>& change) {
    const int before[] = {engine.adapters->version(-1), engine.adapters->version(0), engine.adapters->version(1)};
    change();
    expect((engine.adapters->version(-1) > before[0]) == base, what, ": version of the base model: found ",
           engine.adapters->version(-1), " after ", before[0]);
    for (const int slot : {0, 1}) expect(engine.adapters->version(slot) > before[slot + 1], what, ": slot ", slot);
  };
  const auto write = [&] {
    engine.parameters->write(0, Parameters::master, engine.parameters->read(0, Parameters::master));
  };
  engine.parameters->train_basis();
  after("write of a factor", false, write);
  after("update of factors", false, [&] { engine.parameters->update(step); });
  after("choice of weights", true, [&] { engine.parameters->train_weights({"model.norm.weight"}, tiny.tensors); });
  after("write of a weight", true, write);
  after("update of weights", true, [&] { engine.parameters->update(step); });
}

/// Without moments a step is the rate times the gradient, cut to the longest that is allowed; 0 allows all.
void steps_have_their_size() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  const auto file = tiny.write();
  for (const double most : {0.0, 0.5, 1e9}) {
    engine.parameters->train_weights({"model.norm.weight"}, tiny.tensors);
    go_back(engine, tiny);
    const std::vector<float> start = engine.parameters->read(0, Parameters::master),
                             gradient = engine.parameters->read(0, Parameters::gradient);
    const double norm = engine.parameters->update({.adamw = false, .rate = 0.25, .max_norm = most});
    expect(norm > 0.5, "expected a longer gradient, found ", norm);
    std::vector<float> want = start;
    const double cut = most == 0.5 ? 0.5 / norm : 1;
    for (std::size_t i = 0; i < want.size(); ++i) want[i] -= static_cast<float>(0.25 * cut * double{gradient[i]});
    expect_near("after a step", engine.parameters->read(0, Parameters::master), want, {1e-6, 1e-6});
  }
  engine.parameters->train_weights({"model.norm.weight"}, tiny.tensors);
  go_back(engine, tiny);
  const std::vector<float> start = engine.parameters->read(0, Parameters::master),
                           gradient = engine.parameters->read(0, Parameters::gradient);
  engine.parameters->update(
      {.adamw = true, .rate = 0.25, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-12, .updates = 1});
  std::vector<float> want = start;
  for (std::size_t i = 0; i < want.size(); ++i) want[i] -= std::copysign(0.25F, gradient[i]);
  expect_near("after the first step of AdamW", engine.parameters->read(0, Parameters::master), want, {1e-4, 0});
}

void bad_requests_are_refused() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  const auto file = tiny.write();
  Parameters& parameters = *engine.parameters;
  expect_error("ERR_ARGUMENT", "train: expected an adapter basis first", [&] { parameters.train_basis(); });
  expect_error("ERR_ARGUMENT", "train: expected at least one weight",
               [&] { parameters.train_weights({}, tiny.tensors); });
  expect_error("ERR_MODEL", "tensor model.norm.weight: missing from the model's files",
               [&] { parameters.train_weights({"model.norm.weight"}, {}); });
  expect_error("ERR_ARGUMENT", "model.norm.weight: no weight of this model, or named twice", [&] {
    parameters.train_weights({"model.norm.weight", "model.norm.weight"}, tiny.tensors);
  });
  expect_error("ERR_ARGUMENT", "trained tensor: expected weights that are trained first, found 0",
               [&] { parameters.read(0, Parameters::master); });
  parameters.train_weights({"model.norm.weight", "model.embed_tokens.weight"}, tiny.tensors);
  for (const int tensor : {-1, 2}) {
    expect_error("ERR_ARGUMENT", "trained tensor: expected 0 to 1, found " + std::to_string(tensor),
                 [&] { parameters.read(tensor, Parameters::master); });
  }
  const std::vector<float> before = parameters.read(1, Parameters::master);
  const double infinity = std::numeric_limits<double>::infinity();
  const std::pair<const char*, UpdateOptions> bad_steps[] = {
      {"rate: expected a finite number, 0 or more, found inf", {.rate = infinity}},
      {"rate: expected a finite number, 0 or more, found 1e+39", {.rate = 1e39}},
      {"rate: expected a finite number, 0 or more, found -1", {.rate = -1}},
      {"decay: expected a finite number, 0 or more, found inf", {.decay = infinity}},
      {"epsilon: expected a finite number that float does not round to 0, found -1", {.epsilon = -1}},
      {"epsilon: expected a finite number that float does not round to 0, found 0", {.epsilon = 0}},
      {"epsilon: expected a finite number that float does not round to 0, found 1e-46", {.epsilon = 1e-46}},
      {"momentum: expected 0 or more and less than 1, found 1", {.adamw = false, .momentum = 1}},
      {"beta1: expected 0 or more and less than 1, found 1", {.beta1 = 1}},
      {"beta2: expected 0 or more and less than 1, found -0.5", {.beta2 = -0.5}},
      {"max_norm: expected 0 or more, found -1", {.max_norm = -1}},
      {"updates: expected 1 or more, found 0", {.updates = 0}},
  };
  for (const auto& [message, step] : bad_steps) {
    expect_error("ERR_ARGUMENT", message, [&] { parameters.update(step); });
  }
  expect_same_bits("after refused steps", parameters.read(1, Parameters::master), before);
  std::vector<float> bad = before;
  bad.back() = std::numeric_limits<float>::quiet_NaN();
  expect_error("ERR_NUMERIC", "model.norm.weight: expected finite numbers",
               [&] { parameters.write(1, Parameters::master, bad); });
  expect_error("ERR_ARGUMENT", "adapter slot: expected a basis first, found 0",
               [&] { engine.adapters->set_vectors(0, std::vector<float>(1)); });
  set_random_adapters(engine, 1);
  expect_error("ERR_ADAPTER", "adapter vectors: expected a multiple of 3 numbers, found 0",
               [&] { engine.adapters->set_vectors(0, {}); });
  for (const int slot : {-2, 2}) {
    expect_error("ERR_ARGUMENT", "found " + std::to_string(slot), [&] { engine.adapters->version(slot); });
  }
  expect_error("ERR_ARGUMENT", "found -1", [&] { engine.adapters->gradient(-1); });
}

/// A basis is the same in any order of its modules.
void order_of_modules_is_nothing() {
  TinyModel tiny;
  std::vector<std::vector<float>> found;
  for (const bool reversed : {false, true}) {
    Engine engine(make_reference_backend(DType::f32), tiny);
    Basis basis = random_basis(tiny.config, 1, {1, 9, 20});
    if (reversed) std::reverse(basis.modules.begin(), basis.modules.end());
    engine.adapters->set_basis(basis);
    engine.adapters->set_vector(0, random_vector(basis, 0));
    engine.adapters->set_vector(1, random_vector(basis, 1));
    go_back(engine, tiny);
    const std::vector<double> gradient = engine.adapters->gradient(0);
    found.emplace_back(gradient.begin(), gradient.end());
  }
  expect_same_bits("gradient", found[1], found[0]);
}

}  // namespace

void add_engine_weights_tests(Tests& tests) {
  tests.add("weights: each alone has the gradient that it has among all", one_weight_alone);
  tests.add("weights: factors have names", factors_have_names);
  tests.add("weights: versions tell of changes", versions_tell_of_changes);
  tests.add("weights: steps have their size", steps_have_their_size);
  tests.add("weights: bad requests are refused", bad_requests_are_refused);
  tests.add("weights: the order of a basis' modules does not matter", order_of_modules_is_nothing);
}

}  // namespace tinylora::test
