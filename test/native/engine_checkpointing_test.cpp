// Gradient checkpointing: less memory, the same bits.
#include <cmath>

#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

/// What a pass over the batch gives: log-probabilities, the gradients of both slots' v and those of the trained
/// weights.
std::vector<float> results_of(Engine& engine, ScoreBatch batch, bool gradient_checkpointing) {
  batch.keep = true;
  batch.gradient_checkpointing = gradient_checkpointing;
  engine.adapters->zero_gradients();
  engine.parameters->zero_gradients();
  const ScoreResult scores = engine.forward(batch);
  engine.backward(random_weights(scores, 77));
  std::vector<float> results;
  for (const float logprob : scores.logprobs) results.push_back(std::isnan(logprob) ? 0 : logprob);
  for (int slot = 0; slot < 2; ++slot) {
    for (const double number : engine.adapters->gradient(slot)) results.push_back(static_cast<float>(number));
  }
  for (int i = 0; i < static_cast<int>(engine.parameters->tensors().size()); ++i) {
    const std::vector<float> gradient = engine.parameters->read(i, Parameters::gradient);
    results.insert(results.end(), gradient.begin(), gradient.end());
  }
  return results;
}

/// Also where the two kinds of passes follow each other, of longer and shorter batches.
void expect_same_results(const std::string& what, Engine& engine, const TinyModel& tiny) {
  ScoreBatch batch = mixed_batch(tiny.config.vocab), longer = batch;
  add_sequence(longer, random_tokens(90, tiny.config.vocab, 5), -1, 1, true);
  const std::vector<float> want = results_of(engine, batch, false);
  expect_same_bits(what, results_of(engine, batch, true), want);
  expect_same_bits(what + ", longer", results_of(engine, longer, true), results_of(engine, longer, false));
  expect_same_bits(what + ", again", results_of(engine, batch, true), want);
}

void changes_no_bit_of_v(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen3");
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 4);
  expect_same_results("v", engine, tiny);
}

void changes_no_bit_of_weights(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen2");
  Engine engine(candidate.make(dtype, 2), tiny);
  set_random_adapters(engine, 4);
  const ScoreBatch batch = mixed_batch(tiny.config.vocab);
  engine.parameters->train_basis();
  expect_same_bits("A and B", results_of(engine, batch, true), results_of(engine, batch, false));
  const auto file = tiny.write();
  std::vector<std::string> names;
  for (const auto& [name, values] : tiny.numbers) names.push_back(name);
  engine.parameters->train_weights(names, tiny.tensors);
  expect_same_bits("all weights", results_of(engine, batch, true), results_of(engine, batch, false));
}

/// Of layers below the first adapted module nothing is kept or computed again.
void any_first_module() {
  TinyModel tiny("qwen3");
  Engine engine(make_reference_backend(DType::f32), tiny);
  for (int module = 0; module < tiny.config.layers * module_types; ++module) {
    const Basis basis = random_basis(tiny.config, 1, {module});
    engine.adapters->set_basis(basis);
    for (int slot = 0; slot < 2; ++slot) engine.adapters->set_vector(slot, random_vector(basis, slot));
    expect_same_results("module " + std::to_string(module), engine, tiny);
  }
}

/// What a layer more takes is its input, rows of the residual stream in float, and z.
void a_layer_takes_little() {
  std::size_t bytes[2][2];
  const TinyModel some("qwen3");
  for (const int more : {0, 1}) {
    ModelConfig config = some.config;
    config.layers += more;
    TinyModel tiny(config);
    for (const bool gradient_checkpointing : {false, true}) {
      Engine engine(make_reference_backend(DType::f32), tiny);
      set_random_adapters(engine, 4);
      results_of(engine, mixed_batch(config.vocab), gradient_checkpointing);
      bytes[gradient_checkpointing][more] = engine.trainer->activation_bytes();
    }
  }
  const std::size_t rows = mixed_batch(some.config.vocab).tokens.size();
  const std::size_t row = (static_cast<std::size_t>(some.config.hidden) + module_types * 2) * sizeof(float);
  const std::size_t layer = bytes[true][1] - bytes[true][0];
  expect(layer >= rows * row && layer < rows * row + 8 * 64, "expected ", rows * row, " bytes, found ", layer);
  expect(bytes[true][0] < bytes[false][0], "expected less than ", bytes[false][0], " bytes, found ", bytes[true][0]);
}

void ends_between_layers() {
  TinyModel tiny;
  Engine engine(make_reference_backend(DType::f32), tiny);
  set_random_adapters(engine, 4);
  const ScoreBatch batch = mixed_batch(tiny.config.vocab);
  const std::vector<float> want = results_of(engine, batch, true);
  ScoreBatch kept = batch;
  kept.keep = kept.gradient_checkpointing = true;
  const std::vector<float> weights = random_weights(engine.forward(kept), 77);
  engine.abort = true;
  expect_error("ERR_ABORTED", "before layer 2", [&] { engine.backward(weights); });
  engine.abort = false;
  expect_same_bits("after it", results_of(engine, batch, true), want);
}

}  // namespace

void add_engine_checkpointing_tests(Tests& tests) {
  for (const Candidate& candidate : candidates()) {
    for (const DType dtype : candidate.dtypes) {
      const std::string where = " [" + candidate.name + " " + name_of(dtype) + "]";
      tests.add("gradient checkpointing: no bit of v changes" + where, [=] { changes_no_bit_of_v(candidate, dtype); });
      tests.add("gradient checkpointing: no bit of trained weights changes" + where,
                [=] { changes_no_bit_of_weights(candidate, dtype); });
    }
  }
  tests.add("gradient checkpointing: any first module", any_first_module);
  tests.add("gradient checkpointing: a layer takes little", a_layer_takes_little);
  tests.add("gradient checkpointing: a pass ends between layers", ends_between_layers);
}

}  // namespace tinylora::test
