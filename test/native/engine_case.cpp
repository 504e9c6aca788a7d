#include "engine_case.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "engine/model_shape.h"
#include "engine/models/family.h"

namespace tinylora::test {

TemporaryFile::TemporaryFile(const std::vector<std::uint8_t>& bytes) {
  static int number = 0;
  const std::string name = "tinylora-test-" + std::to_string(getpid()) + "-" + std::to_string(number++);
  path_ = (std::filesystem::temp_directory_path() / name).string();
  std::ofstream file(path_, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  expect(static_cast<bool>(file), path_, ": cannot write");
}

TemporaryFile::~TemporaryFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

namespace {

ModelConfig tiny_config(const std::string& family) {
  ModelConfig config;
  config.family = family;
  config.vocab = 101;
  config.hidden = 44;
  config.intermediate = 76;
  config.layers = 3;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 12;
  config.context = 200;
  config.rms_norm_epsilon = 1e-5F;
  config.tied_embeddings = family != "qwen2";
  config.rope_theta = 10000;
  return config;
}

std::vector<TensorShape> all_shapes(const ModelConfig& config) {
  const Family& family = *find_family(config.family);
  std::vector<TensorShape> shapes{embedding_shape(config), final_norm_shape(config)};
  if (!config.tied_embeddings) shapes.push_back(head_shape(config));
  for (int layer = 0; layer < config.layers; ++layer) {
    shapes.push_back(input_norm_shape(config, layer));
    shapes.push_back(post_norm_shape(config, layer));
    if (family.qk_norm) shapes.push_back(q_norm_shape(config, layer));
    if (family.qk_norm) shapes.push_back(k_norm_shape(config, layer));
    for (int type = 0; type < module_types; ++type) {
      shapes.push_back(weight_shape(config, layer, type));
      if (family.qkv_bias && type <= v_proj) shapes.push_back(bias_shape(config, layer, type));
    }
  }
  return shapes;
}

/// As numpy: reshape(heads, 2, D / 2, columns), swap the middle axes.
std::vector<float> permute(const std::vector<float>& rows, int heads, std::size_t columns) {
  const std::size_t head_rows = rows.size() / columns / static_cast<std::size_t>(heads);
  std::vector<float> result;
  for (std::size_t head = 0; head < static_cast<std::size_t>(heads); ++head) {
    for (std::size_t pair = 0; pair < head_rows / 2; ++pair) {
      for (std::size_t half = 0; half < 2; ++half) {
        const auto row =
            rows.begin() + static_cast<std::ptrdiff_t>((head * head_rows + half * (head_rows / 2) + pair) * columns);
        result.insert(result.end(), row, row + static_cast<std::ptrdiff_t>(columns));
      }
    }
  }
  return result;
}

/// llama.cpp's converter permutes the heads of queries and keys.
int permuted_heads(const ModelConfig& config, const std::string& name) {
  if (name.find("q_proj") != std::string::npos) return config.heads;
  return name.find("k_proj") != std::string::npos ? config.kv_heads : 0;
}

void append(std::vector<std::uint8_t>& bytes, const std::vector<float>& values, const std::string& type) {
  for (const float value : values) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    if (type == "BF16") bits >>= 16;
    for (int i = 0; i < (type == "BF16" ? 2 : 4); ++i) bytes.push_back(static_cast<std::uint8_t>(bits >> (8 * i)));
  }
}

}  // namespace

TinyModel::TinyModel(const std::string& family, std::uint64_t seed) : TinyModel(tiny_config(family), seed) {}

TinyModel::TinyModel(const ModelConfig& model_config, std::uint64_t seed) : config(model_config) {
  Random random(seed);
  for (const TensorShape& shape : all_shapes(config)) {
    std::vector<float>& values = numbers[shape.name];
    values = random.normals(static_cast<std::size_t>(shape.rows) * static_cast<std::size_t>(shape.columns),
                            shape.vector ? 0.3 : 0.15);
    for (float& value : values) {
      if (shape.name.find("norm") != std::string::npos) value += 1;
      value = to_float(to_bf16(value));
    }
  }
}

std::unique_ptr<TemporaryFile> TinyModel::write(const std::string& type, bool permuted) {
  std::vector<std::uint8_t> bytes(3);  // an odd start: no tensor is aligned
  tensors.clear();
  for (const TensorShape& shape : all_shapes(config)) {
    const std::vector<float>& values = numbers[shape.name];
    TensorSource tensor;
    tensor.name = shape.name;
    tensor.offset = bytes.size();
    tensor.type = type;
    tensor.shape = {shape.rows};
    if (!shape.vector) tensor.shape.push_back(shape.columns);
    if (permuted) tensor.permuted_heads = permuted_heads(config, shape.name);
    const int heads = permuted_heads(config, shape.name);
    const bool swap = permuted && heads > 0;
    append(bytes, swap ? permute(values, heads, static_cast<std::size_t>(shape.columns)) : values, type);
    tensor.bytes = bytes.size() - tensor.offset;
    tensors.push_back(tensor);
  }
  auto file = std::make_unique<TemporaryFile>(bytes);
  for (TensorSource& tensor : tensors) tensor.file = file->path();
  return file;
}

TensorSource& TinyModel::source(const std::string& name) {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& tensor) { return tensor.name == name; });
  expect(found != tensors.end(), "the test names a tensor that is not there: ", name);
  return *found;
}

Engine::Engine(std::unique_ptr<Backend> owned, TinyModel& tiny) : backend(std::move(owned)) {
  const auto file = tiny.write();
  model = load_model(*backend, tiny.config, tiny.tensors, {});
  adapters = std::make_unique<Adapters>(*model);
  parameters = std::make_unique<Parameters>(*model, *adapters);
  trainer = std::make_unique<Trainer>(*model, *adapters, *parameters);
}

Basis random_basis(const ModelConfig& config, int groups, std::vector<int> modules) {
  Basis basis{.rank = 2, .u = 3, .groups = groups, .slots = 2, .modules = {}};
  const int all = config.layers * module_types;
  if (modules.empty()) {
    for (int module = 0; module < all; ++module) modules.push_back(module);
  }
  for (const int module : modules) {
    const LinearShape shape = linear_shape(config, module % module_types);
    Random random(100 + static_cast<std::uint64_t>(module));  // a module has the same numbers in every basis
    const auto r = static_cast<std::size_t>(basis.rank);
    const auto in = static_cast<std::size_t>(shape.in), out = static_cast<std::size_t>(shape.out);
    const auto place = static_cast<int>(basis.modules.size());
    basis.modules.push_back({.module = module,
                             .group = place * groups / static_cast<int>(modules.size()),
                             .a = random.normals(r * in, 1 / std::sqrt(static_cast<double>(in))),
                             .b = random.normals(out * r, 0.5),
                             .p = random.normals(static_cast<std::size_t>(basis.u) * r * r)});
  }
  return basis;
}

std::vector<float> random_vector(const Basis& basis, int slot) {
  Random random(500 + static_cast<std::uint64_t>(slot));
  return random.normals(static_cast<std::size_t>(basis.groups) * static_cast<std::size_t>(basis.u), 0.3);
}

Basis set_random_adapters(Engine& engine, int groups) {
  Basis basis = random_basis(engine.model->config, groups);
  engine.adapters->set_basis(basis);
  for (int slot = 0; slot < basis.slots; ++slot) engine.adapters->set_vector(slot, random_vector(basis, slot));
  return basis;
}

int add_sequence(ScoreBatch& batch, const std::vector<std::int32_t>& tokens, int parent, int slot, bool scored,
                 float temperature) {
  if (batch.starts.empty()) batch.starts.push_back(0);
  batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
  batch.starts.push_back(static_cast<std::int32_t>(batch.tokens.size()));
  batch.parents.push_back(parent);
  batch.slots.push_back(slot);
  batch.scored.push_back(scored ? 1 : 0);
  batch.temperatures.push_back(temperature);
  return static_cast<int>(batch.parents.size()) - 1;
}

std::vector<std::int32_t> random_tokens(int count, int vocab, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(random.below(vocab));
  return tokens;
}

ScoreBatch mixed_batch(int vocab) {
  ScoreBatch batch;
  const int middle = add_sequence(batch, random_tokens(45, vocab, 1), -1, 0, false);
  add_sequence(batch, random_tokens(20, vocab, 2), middle, 0, true, 0.7F);
  add_sequence(batch, random_tokens(1, vocab, 3), middle, 0, true, 0.7F);
  add_sequence(batch, random_tokens(70, vocab, 4), middle, 0, true, 1.3F);
  const int full = add_sequence(batch, random_tokens(64, vocab, 5), -1, 1, true);
  add_sequence(batch, random_tokens(5, vocab, 6), full, 1, true);
  add_sequence(batch, random_tokens(3, vocab, 7), full, 1, true);
  add_sequence(batch, random_tokens(33, vocab, 8), -1, 1, true);
  add_sequence(batch, random_tokens(40, vocab, 9), -1, -1, true);
  return batch;
}

std::vector<float> random_weights(const ScoreResult& scores, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> weights = random.normals(scores.logprobs.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (std::isnan(scores.logprobs[i])) weights[i] = 0;
  }
  return weights;
}

void expect_error(const std::string& code, const std::string& part, const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    expect(error.code() == code, "expected ", code, ", found ", error.code(), ": ", error.what());
    expect(std::string(error.what()).find(part) != std::string::npos, "expected a message with \"", part,
           "\", found: ", error.what());
    return;
  }
  expect(false, "expected ", code, " with \"", part, "\", found no error");
}

}  // namespace tinylora::test
