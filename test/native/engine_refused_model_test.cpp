// Loading: hostile configurations, tensors and files are refused, harmless ones are not.
#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <limits>

#include "engine_case.h"
#include "suites.h"

namespace tinylora::test {
namespace {

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
  refused("head_dim: expected 2 to 256, found 258", [](ModelConfig& config) { config.head_dim = 258; });
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

}  // namespace

void add_engine_refused_model_tests(Tests& tests) {
  tests.add("load: bad configurations are refused", bad_configurations_are_refused);
  tests.add("load: bad tensors are refused", bad_tensors_are_refused);
  tests.add("load: bad numbers are refused", bad_numbers_are_refused);
  tests.add("load: numbers beyond fp16 are refused", numbers_beyond_fp16_are_refused);
  tests.add("load: bad files are refused", bad_files_are_refused);
  tests.add("load: harmless extra tensors are let be", harmless_extras_are_let_be);
  tests.add("load: a tied head must be a copy of the embedding", a_tied_head_must_be_a_copy);
}

}  // namespace tinylora::test
