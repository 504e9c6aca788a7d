// Loading: fingerprints, row permutation, progress, rotary tables. What is refused: engine_refused_model_test.cpp.
#include <cmath>
#include <set>

#include "core/error.h"
#include "engine/fingerprint.h"
#include "engine/rope_table.h"
#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

std::string fingerprint(TinyModel& tiny, const std::string& type = "F32", bool permuted = false) {
  const auto backend = make_reference_backend(DType::f32);
  const auto file = tiny.write(type, permuted);
  return load(*backend, tiny)->fingerprint;
}

void fingerprint_is_that_of_the_numbers(const Candidate& candidate, DType dtype) {
  TinyModel tiny("qwen2");
  const std::string want = fingerprint(tiny);
  expect(want.size() == 16, "expected 16 digits, found ", want);
  for (const int threads : thread_counts(candidate)) {
    const auto backend = candidate.make(dtype, threads);
    const auto file = tiny.write("BF16", true);
    const std::string found = load(*backend, tiny)->fingerprint;
    expect(found == want, threads, " threads: expected ", want, ", found ", found);
  }
}

void fingerprint_sees_every_change() {
  std::set<std::string> seen;
  const auto changed = [&](const std::string& what, const std::function<void(TinyModel&)>& change) {
    TinyModel tiny;
    change(tiny);
    expect(seen.insert(fingerprint(tiny)).second, what, ": the fingerprint is that of another model");
  };
  const std::string q = "model.layers.1.self_attn.q_proj.weight";
  changed("nothing", [](TinyModel&) {});
  changed("seed", [](TinyModel& tiny) { tiny = TinyModel("llama", 2); });
  for (const std::size_t place : {0, 1, 43, 44, 2000}) {
    changed("a sign", [&](TinyModel& tiny) { tiny.numbers.at(q)[place] *= -1; });
  }
  changed("two signs", [&](TinyModel& tiny) { tiny.numbers.at(q)[1] *= -1, tiny.numbers.at(q)[9] *= -1; });
  changed("two numbers swapped", [&](TinyModel& tiny) { std::swap(tiny.numbers.at(q)[3], tiny.numbers.at(q)[5]); });
  changed("two rows swapped", [&](TinyModel& tiny) {
    auto& numbers = tiny.numbers.at(q);
    std::swap_ranges(numbers.begin(), numbers.begin() + 44, numbers.begin() + 88);
  });
  changed("two tensors swapped",
          [&](TinyModel& tiny) { tiny.numbers.at(q).swap(tiny.numbers.at("model.layers.2.self_attn.q_proj.weight")); });
  changed("two norms swapped", [](TinyModel& tiny) {
    tiny.numbers.at("model.layers.0.input_layernorm.weight").swap(tiny.numbers.at("model.norm.weight"));
  });
  changed("theta", [](TinyModel& tiny) { tiny.config.rope_theta = 20000; });
  changed("epsilon", [](TinyModel& tiny) { tiny.config.rms_norm_epsilon = 1e-6F; });
  changed("scaling",
          [](TinyModel& tiny) { tiny.config.rope_scaling.type = "linear", tiny.config.rope_scaling.factor = 2; });
  const auto yarn = [&](const std::string& what,
                        const std::function<void(decltype(ModelConfig::rope_scaling)&)>& change) {
    changed("yarn's " + what, [&](TinyModel& tiny) {
      tiny.config.rope_scaling = {.type = "yarn", .factor = 2, .original_context = 64};
      change(tiny.config.rope_scaling);
    });
  };
  yarn("type", [](auto&) {});
  yarn("beta_fast", [](auto& scaling) { scaling.beta_fast = 16; });
  yarn("beta_slow", [](auto& scaling) { scaling.beta_slow = 2; });
  yarn("attention_factor", [](auto& scaling) { scaling.attention_factor = 1.5; });
  yarn("truncate", [](auto& scaling) { scaling.truncate = false; });
  changed("factor",
          [](TinyModel& tiny) { tiny.config.rope_scaling.type = "linear", tiny.config.rope_scaling.factor = 4; });
  const auto llama3 = [&](int context) {
    changed("llama3", [&](TinyModel& tiny) {
      tiny.config.rope_scaling = {
          .type = "llama3", .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_context = context};
    });
  };
  llama3(64);
  llama3(128);
}

/// Adapters, caches and checkpoints are tied to a fingerprint: another algorithm would disown all of them.
void fingerprint_stays_as_it_is() {
  ModelConfig config = TinyModel().config;
  Fingerprint fingerprint(config);
  std::vector<float> values;
  for (int i = 0; i < 13; ++i) values.push_back(static_cast<float>(i) / 8 - 1);
  fingerprint.add_row(Fingerprint::hash_name("model.norm.weight"), 3, values);
  expect(fingerprint.text() == "f58e7753113f51f1", "found ", fingerprint.text());
  config.tied_embeddings = false;
  expect(Fingerprint(config).text() == "4c87548cdf57bb76", "found ", Fingerprint(config).text());
}

void what_is_loaded() {
  TinyModel tiny;
  tiny.config.context = kMaxContext + 1;
  const auto file = tiny.write();
  std::size_t matrices = 0, vectors = 0;
  for (const auto& [name, numbers] : tiny.numbers) {
    (name.find("norm") == std::string::npos ? matrices : vectors) += numbers.size();
  }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto backend = make_reference_backend(dtype);
    const auto model = load(*backend, tiny);
    expect(model->config.context == kMaxContext, "a context of ", model->config.context);
    const std::size_t angles = std::size_t{kMaxContext} * static_cast<std::size_t>(tiny.config.head_dim);
    const std::size_t bytes = matrices * size_of(dtype) + (vectors + angles) * sizeof(float);
    expect(model->weight_bytes == bytes, "expected ", bytes, " bytes of weights, found ", model->weight_bytes);
  }
}

void permuted_rows_are_put_back() {
  TinyModel tiny("qwen2");
  const auto file = tiny.write("F32", true);
  for (const int module : {0, 1, 2, 7 * 2 + 6}) {
    const RowReader rows = module_rows(tiny.tensors, tiny.config, module);
    const std::string names[] = {"0.self_attn.q_proj", "0.self_attn.k_proj", "0.self_attn.v_proj", "2.mlp.down_proj"};
    const auto& want = tiny.numbers.at("model.layers." + names[module < 3 ? module : 3] + ".weight");
    const std::size_t width = module < 3 ? 44 : 76;
    for (std::size_t row = 0; row < want.size() / width; ++row) {
      std::vector<float> found(width);
      rows(static_cast<int>(row), found.data());
      const auto first = want.begin() + static_cast<std::ptrdiff_t>(row * width);
      expect_same_bits("module " + std::to_string(module) + " row " + std::to_string(row), found,
                       {first, first + static_cast<std::ptrdiff_t>(width)});
    }
  }
  expect_error("ERR_ARGUMENT", "expected 0 to 20, found 21", [&] { module_rows(tiny.tensors, tiny.config, 21); });
}

void progress_ends_at_the_total() {
  TinyModel tiny;
  const auto file = tiny.write();
  const auto backend = make_reference_backend(DType::bf16);
  std::int64_t last = 0, total = 0;
  load_model(*backend, tiny.config, tiny.tensors, [&](std::int64_t done, std::int64_t all) {
    expect(done > last && done <= all, "progress went from ", last, " to ", done, " of ", all);
    last = done, total = all;
  });
  expect(last == total, "progress ended at ", last, " of ", total);
}

/// Whoever waits for a large matrix sees it come, and may end it.
void progress_is_told_within_a_matrix(const Candidate& candidate, DType dtype) {
  ModelConfig config = TinyModel().config;
  config.vocab = 60000;
  TinyModel tiny(config);
  const auto file = tiny.write();
  const auto backend = candidate.make(dtype, 2);
  const auto embedding = static_cast<std::int64_t>(tiny.source("model.embed_tokens.weight").bytes);
  std::vector<std::int64_t> within;
  load_model(*backend, tiny.config, tiny.tensors, [&](std::int64_t done, std::int64_t) {
    if (done < embedding) within.push_back(done);
  });
  expect(within.size() == 2 && std::ranges::is_sorted(within), "expected 2 reports, found ", within.size());
  int reports = 0;
  expect_error("ERR_ABORTED", "enough", [&] {
    load_model(*backend, tiny.config, tiny.tensors, [&](std::int64_t, std::int64_t) {
      ++reports;
      fail("ERR_ABORTED", "enough");
    });
  });
  expect(reports == 1, "reports went on after an abort");
}

/// As within any large matrix: whoever waits for the copy to be compared may end it.
void a_tied_head_tells_its_progress() {
  ModelConfig config = TinyModel().config;
  config.vocab = 60000;
  TinyModel tiny(config);
  const auto file = tiny.write();
  TensorSource head = tiny.source("model.embed_tokens.weight");
  head.name = "lm_head.weight";
  tiny.tensors.push_back(head);
  const auto backend = make_reference_backend(DType::bf16);
  std::vector<std::int64_t> within;
  std::int64_t last = 0, total = 0;
  load_model(*backend, tiny.config, tiny.tensors, [&](std::int64_t done, std::int64_t all) {
    expect(done > last && done <= all, "progress went from ", last, " to ", done, " of ", all);
    if (done < 2 * static_cast<std::int64_t>(head.bytes)) within.push_back(done);
    last = done, total = all;
  });
  expect(within.size() == 2 + 1 + 2, "expected 5 reports of the copy and the embedding, found ", within.size());
  expect(last == total, "progress ended at ", last, " of ", total);
}

/// Numbers from transformers' own formulas, worked out by hand for one pair of each kind.
void rope_is_that_of_transformers() {
  ModelConfig config = TinyModel().config;
  config.head_dim = 4;
  config.rope_theta = 10000;  // frequencies 1 and 0.01
  RopeTable table = rope_table(config, 8);
  expect_near("plain", {table.cos[2 * 3], table.sin[2 * 3 + 1]}, {std::cos(3.0F), std::sin(0.03F)}, {0, 1e-6});
  config.rope_scaling.type = "linear";
  config.rope_scaling.factor = 4;
  table = rope_table(config, 8);
  expect_near("linear", {table.cos[2 * 4], table.sin[2 * 4 + 1]}, {std::cos(1.0F), std::sin(0.01F)}, {0, 1e-6});
  config.rope_scaling = {
      .type = "llama3", .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_context = 1024};
  table = rope_table(config, 8);
  // Wavelength 6.28 < 1024 / 4: kept. Wavelength 628.3: 1024 / 628.3 = 1.6297 turns, share (1.62975 - 1) / 3 =
  // 0.209916.
  const float blended = (1 - 0.2099156F) * 0.01F / 8 + 0.2099156F * 0.01F;
  expect_near("llama3", {table.cos[2 * 2], table.sin[2 * 5 + 1]}, {std::cos(2.0F), std::sin(5 * blended)}, {0, 1e-5});
  config.rope_scaling.original_context = 512;  // 0.815 turns: a long wavelength, divided
  table = rope_table(config, 8);
  expect_near("llama3", {table.sin[2 * 5 + 1]}, {std::sin(0.05F / 8)}, {0, 1e-6});
  // 32 turns within 1024 at pair 0.3535, one at pair 1.1061; rounded outwards, 0 and 2: pair 1 is half way.
  config.rope_scaling = {.type = "yarn", .factor = 8, .original_context = 1024, .attention_factor = 1.25};
  table = rope_table(config, 8);
  const auto yarn = [](float share) { return 1.25F * std::sin(5 * (share * 0.01F / 8 + (1 - share) * 0.01F)); };
  expect_near("yarn", {table.cos[2 * 2], table.sin[2 * 5 + 1]}, {1.25F * std::cos(2.0F), yarn(0.5F)}, {0, 1e-5});
  config.rope_scaling.truncate = false;
  table = rope_table(config, 8);
  expect_near("yarn", {table.cos[2 * 2], table.sin[2 * 5 + 1]}, {1.25F * std::cos(2.0F), yarn(0.85907F)}, {0, 1e-5});
}

}  // namespace

void add_engine_load_tests(Tests& tests) {
  add_for_each_backend(tests, "load: the fingerprint is that of the numbers", fingerprint_is_that_of_the_numbers);
  tests.add("load: the fingerprint sees every change", fingerprint_sees_every_change);
  tests.add("load: the fingerprint stays as it is", fingerprint_stays_as_it_is);
  tests.add("load: what is loaded", what_is_loaded);
  tests.add("load: permuted rows are put back", permuted_rows_are_put_back);
  tests.add("load: progress ends at the total", progress_ends_at_the_total);
  add_for_each_backend(tests, "load: progress within a matrix", progress_is_told_within_a_matrix);
  tests.add("load: progress within the copy of a tied head", a_tied_head_tells_its_progress);
  tests.add("load: rotary tables are those of transformers", rope_is_that_of_transformers);
}

}  // namespace tinylora::test
