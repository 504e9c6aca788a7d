// Loading: fingerprints, row permutation, hostile configurations and tensors.
#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "core/error.h"
#include "engine/fingerprint.h"
#include "engine/model_shape.h"
#include "engine/rope_table.h"
#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

std::unique_ptr<Model> load(Backend& backend, const TinyModel& tiny) {
  return load_model(backend, tiny.config, tiny.tensors, {});
}

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

void bad_configurations_are_refused() {
  TinyModel good;
  const auto file = good.write();
  const auto backend = make_reference_backend(DType::f32);
  const auto refused = [&](const std::string& part, const std::function<void(ModelConfig&)>& spoil) {
    TinyModel tiny = good;
    spoil(tiny.config);
    expect_error("ERR_MODEL", part, [&] { load(*backend, tiny); });
  };
  constexpr int huge = std::numeric_limits<int>::max();
  refused("expected one of llama, qwen2, qwen3, found gpt2", [](ModelConfig& config) { config.family = "gpt2"; });
  refused("vocab_size", [](ModelConfig& config) { config.vocab = huge; });
  refused("hidden_size", [](ModelConfig& config) { config.hidden = 0; });
  refused("intermediate_size", [](ModelConfig& config) { config.intermediate = huge; });
  refused("num_hidden_layers", [](ModelConfig& config) { config.layers = -1; });
  refused("num_hidden_layers: expected 1 to 1024, found 1025", [](ModelConfig& config) { config.layers = 1025; });
  refused("num_attention_heads", [](ModelConfig& config) { config.heads = huge; });
  refused("num_key_value_heads", [](ModelConfig& config) { config.kv_heads = 5; });
  refused("expected a multiple of num_key_value_heads (3)", [](ModelConfig& config) { config.kv_heads = 3; });
  refused("head_dim", [](ModelConfig& config) { config.head_dim = 1 << 20; });
  refused("expected an even number, found 13", [](ModelConfig& config) { config.head_dim = 13; });
  refused("max_position_embeddings", [](ModelConfig& config) { config.context = 0; });
  refused("rms_norm_eps", [](ModelConfig& config) { config.rms_norm_epsilon = std::nanf(""); });
  refused("rope_theta", [](ModelConfig& config) { config.rope_theta = std::numeric_limits<double>::infinity(); });
  refused("expected linear, llama3 or yarn, found su", [](ModelConfig& config) { config.rope_scaling.type = "su"; });
  refused("rope_scaling.factor",
          [](ModelConfig& config) { config.rope_scaling.type = "linear", config.rope_scaling.factor = 0; });
  refused("original_max_position_embeddings", [](ModelConfig& config) { config.rope_scaling.type = "llama3"; });
  refused("expected low_freq_factor below", [](ModelConfig& config) {
    config.rope_scaling = {
        .type = "llama3", .factor = 8, .low_freq_factor = 4, .high_freq_factor = 4, .original_context = 64};
  });
  const auto yarn = [&](const std::string& part, const std::function<void(ModelConfig&)>& spoil) {
    refused(part, [&](ModelConfig& config) {
      config.rope_scaling = {.type = "yarn", .factor = 8, .original_context = 64};
      spoil(config);
    });
  };
  yarn("beta_fast", [](ModelConfig& config) { config.rope_scaling.beta_fast = 0; });
  yarn("beta_slow", [](ModelConfig& config) { config.rope_scaling.beta_slow = -1; });
  yarn("attention_factor", [](ModelConfig& config) { config.rope_scaling.attention_factor = std::nan(""); });
  yarn("rope_theta: expected above 1 with yarn", [](ModelConfig& config) { config.rope_theta = 1; });
  refused("missing", [](ModelConfig& config) { config.layers = 4; });
  refused("expected only the tensors of a llama model with 2 layers", [](ModelConfig& config) { config.layers = 2; });
  refused("expected shape [101, 46], found [101, 44]", [](ModelConfig& config) { config.hidden = 46; });
}

void bad_tensors_are_refused() {
  TinyModel good;
  const auto file = good.write();
  const auto backend = make_reference_backend(DType::f32);
  const std::string name = "model.layers.1.self_attn.k_proj.weight";
  const auto refused = [&](const std::string& code, const std::string& part,
                           const std::function<void(TinyModel&, TensorSource&)>& spoil) {
    TinyModel tiny = good;
    spoil(tiny, tiny.source(name));
    expect_error(code, part, [&] { load(*backend, tiny); });
    expect_error(code, name, [&] { load(*backend, tiny); });
  };
  constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  refused("ERR_MODEL", "missing", [](TinyModel& tiny, TensorSource& source) {
    const std::string gone = source.name;
    std::erase_if(tiny.tensors, [&](const TensorSource& tensor) { return tensor.name == gone; });
  });
  refused("ERR_MODEL", "a second time",
          [](TinyModel& tiny, TensorSource& source) { tiny.tensors.push_back(TensorSource(source)); });
  refused("ERR_MODEL", "expected shape [24, 44], found [44, 24]", [](TinyModel&, TensorSource& source) {
    source.shape = {44, 24};
  });
  refused("ERR_MODEL", "found [1056]", [](TinyModel&, TensorSource& source) { source.shape = {1056}; });
  refused("ERR_MODEL", "found []", [](TinyModel&, TensorSource& source) { source.shape = {}; });
  refused("ERR_MODEL", "expected type F32, F16, BF16",
          [](TinyModel&, TensorSource& source) { source.type = "IQ2_XXS"; });
  refused("ERR_MODEL", "expected rows of a multiple of 32",
          [](TinyModel&, TensorSource& source) { source.type = "Q4_0"; });
  refused("ERR_MODEL", "expected 4224 bytes", [](TinyModel&, TensorSource& source) { source.bytes = 4223; });
  refused("ERR_MODEL", "expected 2112 bytes", [](TinyModel&, TensorSource& source) { source.type = "F16"; });
  refused("ERR_MODEL", "expected rows permuted for 2 heads",
          [](TinyModel&, TensorSource& source) { source.permuted_heads = 5; });
  refused("ERR_MODEL", "found -2", [](TinyModel&, TensorSource& source) { source.permuted_heads = -2; });
  refused("ERR_FILE", "the file ends at", [](TinyModel&, TensorSource& source) { source.offset = 1 << 30; });
  refused("ERR_FILE", "the file ends at", [](TinyModel&, TensorSource& source) { source.offset = huge; });
  refused("ERR_FILE", "the file ends at", [](TinyModel&, TensorSource& source) { source.offset = huge - 4000; });
}

void bad_numbers_are_refused() {
  const float rounds_up = 0x1.ffp127F;  // to infinity in bf16, the least that does
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), rounds_up}) {
    for (const char* name : {"model.embed_tokens.weight", "model.layers.2.mlp.down_proj.weight", "model.norm.weight"}) {
      TinyModel tiny;
      tiny.numbers.at(name).back() = -bad;
      const auto file = tiny.write();
      for (const Candidate& candidate : candidates()) {
        const auto backend = candidate.make(DType::bf16, 2);
        expect_error("ERR_MODEL", std::string("tensor ") + name, [&] { load(*backend, tiny); });
        expect_error("ERR_MODEL", "expected finite numbers", [&] { load(*backend, tiny); });
      }
    }
  }
}

void numbers_beyond_fp16_are_refused() {
  const std::string name = "model.layers.2.mlp.down_proj.weight";
  TinyModel tiny;
  tiny.numbers.at(name).back() = -65520;  // the least that rounds to infinity
  const auto file = tiny.write();
  load(*make_reference_backend(DType::bf16), tiny);
  expect_error("ERR_MODEL", "tensor " + name, [&] { load(*make_reference_backend(DType::f16), tiny); });
  expect_error("ERR_MODEL", "the most that dtype fp16 holds", [&] { load(*make_reference_backend(DType::f16), tiny); });
}

void bad_files_are_refused() {
  const auto backend = make_reference_backend(DType::f32);
  TinyModel tiny;
  const auto file = tiny.write();
  const TemporaryFile empty({});
  const auto at = [&](const std::string& path) {
    for (TensorSource& tensor : tiny.tensors) tensor.file = path;
    return [&] { load(*backend, tiny); };
  };
  expect_error("ERR_FILE", "cannot open", at(file->path() + "-missing"));
  expect_error("ERR_FILE", "expected a regular file", at("/"));
  expect_error("ERR_FILE", "the file ends at 0", at(empty.path()));
  const std::string pipe = empty.path() + "-pipe";
  expect(mkfifo(pipe.c_str(), 0600) == 0, "cannot make a pipe");
  expect_error("ERR_FILE", "expected a regular file", at(pipe));
  std::remove(pipe.c_str());
  at(file->path())();
}

void harmless_extras_are_let_be() {
  TinyModel tiny;
  const auto file = tiny.write();
  const auto backend = make_reference_backend(DType::f32);
  const std::string want = load(*backend, tiny)->fingerprint;
  TensorSource copy = tiny.source("model.embed_tokens.weight");
  copy.name = "lm_head.weight";
  tiny.tensors.push_back(copy);
  copy.name = "model.layers.0.self_attn.rotary_emb.inv_freq";
  tiny.tensors.push_back(copy);
  expect(load(*backend, tiny)->fingerprint == want, "an unused tensor changes the fingerprint");
  copy.name = "model.layers.0.self_attn.q_proj.bias";
  tiny.tensors.push_back(copy);
  expect_error("ERR_MODEL", "q_proj.bias", [&] { load(*backend, tiny); });
}

void a_tied_head_must_be_a_copy() {
  TinyModel tiny, other;
  expect(tiny.config.tied_embeddings, "expected a tied model");
  other.numbers.at("model.embed_tokens.weight").back() += 1;
  const auto file = tiny.write(), other_file = other.write();
  TensorSource head = other.source("model.embed_tokens.weight");
  head.name = "lm_head.weight";
  tiny.tensors.push_back(head);
  const auto backend = make_reference_backend(DType::f32);
  const std::string row = "found row " + std::to_string(tiny.config.vocab - 1) + " to differ";
  expect_error("ERR_MODEL", row, [&] { load(*backend, tiny); });
  expect_error("ERR_MODEL", "tensor lm_head.weight in " + other_file->path(), [&] { load(*backend, tiny); });
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
  tests.add("load: bad configurations are refused", bad_configurations_are_refused);
  tests.add("load: bad tensors are refused", bad_tensors_are_refused);
  tests.add("load: bad numbers are refused", bad_numbers_are_refused);
  tests.add("load: numbers beyond fp16 are refused", numbers_beyond_fp16_are_refused);
  tests.add("load: bad files are refused", bad_files_are_refused);
  tests.add("load: harmless extra tensors are let be", harmless_extras_are_let_be);
  tests.add("load: a tied head must be a copy of the embedding", a_tied_head_must_be_a_copy);
  tests.add("load: progress within the copy of a tied head", a_tied_head_tells_its_progress);
  tests.add("load: rotary tables are those of transformers", rope_is_that_of_transformers);
}

}  // namespace tinylora::test
