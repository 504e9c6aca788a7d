// What an engine keeps from one pass to the next: its memory, the pass whose backward pass may follow, gradients after
// a failure.
#include <cmath>
#include <new>

#include "engine_case.h"
#include "failing_memory.h"
#include "suites.h"

namespace tinylora::test {
namespace {

/// Few rows on many pages, one page a sequence.
ScoreBatch many_short(const TinyModel& tiny) {
  ScoreBatch batch;
  for (std::uint64_t i = 0; i < 16; ++i) add_sequence(batch, random_tokens(3, tiny.config.vocab, i), -1, 0, true);
  return batch;
}

/// Many rows on few pages.
ScoreBatch one_long(const TinyModel& tiny) {
  ScoreBatch batch;
  add_sequence(batch, random_tokens(64, tiny.config.vocab, 20), -1, 0, true);
  return batch;
}

/// Log-probabilities, and of a kept pass the gradient of slot 0.
std::vector<float> pass(Engine& engine, ScoreBatch batch, bool keep) {
  batch.keep = keep;
  std::vector<float> values = engine.forward(batch).logprobs;
  for (float& value : values) value = std::isnan(value) ? 0 : value;
  if (!keep) return values;
  engine.adapters->zero_gradients();
  engine.backward(std::vector<float>(batch.tokens.size(), 1));
  for (const double number : engine.adapters->gradient(0)) values.push_back(static_cast<float>(number));
  return values;
}

void passes_of_any_shape_follow_each_other(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen3");
  const ScoreBatch batches[] = {many_short(tiny), one_long(tiny)};
  for (const bool keep : {false, true}) {
    std::vector<float> want[2];
    for (std::size_t i = 0; i < 2; ++i) {
      Engine fresh(candidate.make(dtype, 2), tiny);
      set_random_adapters(fresh, 4);
      want[i] = pass(fresh, batches[i], keep);
    }
    for (const std::size_t first : {0, 1}) {
      Engine engine(candidate.make(dtype, 2), tiny);
      set_random_adapters(engine, 4);
      for (const std::size_t i : {first, 1 - first, first})
        expect_same_bits("pass", pass(engine, batches[i], keep), want[i]);
    }
  }
}

void memory_of_passes_only_grows() {
  TinyModel tiny;
  const ScoreBatch batches[] = {many_short(tiny), one_long(tiny)};
  for (const std::size_t first : {0, 1}) {
    Engine engine(make_reference_backend(DType::f32), tiny);
    set_random_adapters(engine, 4);
    expect(engine.trainer->activation_bytes() == 0, "expected no memory before the first pass");
    std::size_t bytes = 0;
    for (const bool keep : {false, true}) {
      for (const std::size_t i : {first, 1 - first}) {
        pass(engine, batches[i], keep);
        expect(engine.trainer->activation_bytes() > bytes, "expected more than ", bytes, " bytes, found ",
               engine.trainer->activation_bytes());
        bytes = engine.trainer->activation_bytes();
      }
      for (const std::size_t i : {first, 1 - first}) pass(engine, batches[i], keep);
      expect(engine.trainer->activation_bytes() == bytes, "expected the same ", bytes, " bytes, found ",
             engine.trainer->activation_bytes());
    }
  }
}

void what_overflowed_is_forgotten(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  Engine engine(candidate.make(dtype, 2), tiny);
  const Basis basis = set_random_adapters(engine, 1);
  ScoreBatch batch;
  add_sequence(batch, random_tokens(5, tiny.config.vocab, 1), -1, 0, true);
  for (const bool keep : {false, true}) {
    const std::vector<float> before = pass(engine, batch, keep);
    engine.adapters->set_vector(0, std::vector<float>(3, 1e37F));
    ScoreBatch longer = one_long(tiny);
    longer.keep = keep;
    expect_error("ERR_NUMERIC", "expected a finite log-probability", [&] { engine.forward(longer); });
    engine.adapters->set_vector(0, random_vector(basis, 0));
    expect_same_bits("after the overflow", pass(engine, batch, keep), before);
  }
}

/// Also where only the last of its allocations finds no room.
void a_failed_pass_gives_its_memory_back() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 1);
  for (std::uint64_t place = 1;; ++place) {
    fail_allocation(place);
    bool failed = false;
    try {
      engine.forward(one_long(tiny));
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    fail_allocation(0);
    if (!failed || place > 300) return expect(place > 300, "only ", place, " allocations");
    expect(engine.trainer->activation_bytes() == 0, "after allocation ", place, " failed: found ",
           engine.trainer->activation_bytes(), " bytes");
  }
}

/// A copy of which a part is missing is none.
void what_was_saved_is_whole() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  const auto file = tiny.write();
  engine.parameters->train_weights({"model.norm.weight", "model.layers.0.input_layernorm.weight"}, tiny.tensors);
  engine.parameters->save();
  const std::vector<float> other(static_cast<std::size_t>(tiny.config.hidden), 2);
  for (const int tensor : {0, 1}) engine.parameters->write(tensor, Parameters::master, other);
  for (std::uint64_t place = 1;; ++place) {
    fail_allocation(place);
    try {
      engine.parameters->save();
    } catch (const std::bad_alloc&) {
      expect_error("ERR_ARGUMENT", "restore: expected saved weights", [&] { engine.parameters->restore(); });
      continue;
    }
    fail_allocation(0);
    engine.parameters->restore();
    return expect_same_bits("restored", engine.parameters->read(0, Parameters::master), other);
  }
}

std::vector<std::vector<float>> gradients(Engine& engine) {
  std::vector<std::vector<float>> all;
  for (int i = 0; i < static_cast<int>(engine.parameters->tensors().size()); ++i)
    all.push_back(engine.parameters->read(i, Parameters::gradient));
  return all;
}

/// The first backward pass ended at the last layer; the next goes as far as the embedding.
void weights_chosen_after_a_pass() {
  TinyModel tiny;
  const Basis last = random_basis(tiny.config, 1, {tiny.config.layers * module_types - 1});
  const std::vector<std::string> names = {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"};
  std::vector<std::vector<float>> want;
  for (const bool before : {false, true}) {
    Engine engine(make_reference_backend(DType::f32), tiny);
    const auto file = tiny.write();
    engine.adapters->set_basis(last);
    engine.adapters->set_vector(0, random_vector(last, 0));
    if (before) pass(engine, one_long(tiny), true);
    engine.parameters->train_weights(names, tiny.tensors);
    pass(engine, one_long(tiny), true);
    const std::vector<std::vector<float>> found = gradients(engine);
    if (!before) want = found;
    for (std::size_t i = 0; i < want.size(); ++i) expect_same_bits(names[i], found[i], want[i]);
  }
}

Basis basis_of_rank(const TinyModel& tiny, int rank) {
  Basis basis = random_basis(tiny.config, 1);
  const auto times = static_cast<std::size_t>(rank);
  for (BasisModule& module : basis.modules) {
    Random random(static_cast<std::uint64_t>(module.module) + 1);
    module.a = random.normals(module.a.size() / 2 * times, 0.1);
    module.b = random.normals(module.b.size() / 2 * times, 0.1);
    module.p = random.normals(module.p.size() / 4 * times * times);
  }
  basis.rank = rank;
  return basis;
}

void a_basis_of_higher_rank_after_a_pass(const Candidate& candidate, DType dtype) {
  TinyModel tiny;
  std::vector<float> want;
  for (const bool before : {false, true}) {
    Engine engine(candidate.make(dtype, 2), tiny);
    for (const int rank : {1, 16}) {
      const Basis basis = basis_of_rank(tiny, rank);
      engine.adapters->set_basis(basis);
      engine.adapters->set_vector(0, random_vector(basis, 0));
      if (before || rank == 16) {
        const std::vector<float> found = pass(engine, one_long(tiny), true);
        if (!before) want = found;
        if (rank == 16) expect_same_bits("pass", found, want);
      }
    }
  }
}

void a_changed_engine_has_no_backward_pass() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  const Basis basis = set_random_adapters(engine, 1);
  ScoreBatch batch = mixed_batch(tiny.config.vocab);
  batch.keep = true;
  const auto refused_after = [&](const std::function<void()>& change) {
    engine.forward(batch);
    change();
    expect_error("ERR_ARGUMENT", "they were changed since",
                 [&] { engine.backward(std::vector<float>(batch.tokens.size(), 1)); });
  };
  for (const int slot : {0, 1}) refused_after([&] { engine.adapters->set_vector(slot, random_vector(basis, slot)); });
  for (int i = 0; i < 2; ++i) refused_after([&] { engine.adapters->set_basis(basis); });
  refused_after([&] { engine.parameters->train_basis(); });
  refused_after([&] { engine.parameters->clear(); });
}

void a_failed_backward_pass_leaves_no_gradient() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 1);
  engine.parameters->train_basis();
  ScoreBatch batch = one_long(tiny);
  pass(engine, batch, true);
  for (const auto& gradient : gradients(engine)) expect(gradient != std::vector<float>(gradient.size()), "no gradient");
  batch.keep = true;
  engine.forward(batch);
  engine.abort = true;
  expect_error("ERR_ABORTED", "backward: aborted before layer",
               [&] { engine.backward(std::vector<float>(batch.tokens.size(), 1)); });
  for (const auto& gradient : gradients(engine)) {
    for (const float value : gradient) expect(value == 0, "an error left ", value);
  }
}

}  // namespace

void add_engine_state_tests(Tests& tests) {
  add_for_each_backend(tests, "state: passes of any shape follow each other", passes_of_any_shape_follow_each_other);
  add_for_each_backend(tests, "state: what overflowed is forgotten", what_overflowed_is_forgotten);
  tests.add("state: the memory of passes only grows", memory_of_passes_only_grows);
  tests.add("state: a failed pass gives its memory back", a_failed_pass_gives_its_memory_back);
  tests.add("state: what was saved is whole", what_was_saved_is_whole);
  add_for_each_backend(tests, "state: a basis of higher rank after a pass", a_basis_of_higher_rank_after_a_pass);
  tests.add("state: weights chosen after a pass", weights_chosen_after_a_pass);
  tests.add("state: no backward pass of a changed engine", a_changed_engine_has_no_backward_pass);
  tests.add("state: a failed backward pass leaves no gradient", a_failed_backward_pass_leaves_no_gradient);
}

}  // namespace tinylora::test
