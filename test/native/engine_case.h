// Small random models in temporary files, adapters for them, and batches: what the engine tests share.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/trainer.h"
#include "support.h"

namespace tinylora::test {

/// A file that is removed at the end.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::vector<std::uint8_t>& bytes);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Configuration and weights; awkward sizes. Every number is one that bf16 holds exactly.
struct TinyModel {
  explicit TinyModel(const std::string& family = "llama", std::uint64_t seed = 1);
  explicit TinyModel(const ModelConfig& config, std::uint64_t seed = 1);

  ModelConfig config;
  std::map<std::string, std::vector<float>> numbers;  // by tensor name

  /// Writes all tensors to a file, as F32 or BF16, q and k permuted as llama.cpp's converter does when `permuted`.
  std::unique_ptr<TemporaryFile> write(const std::string& type = "F32", bool permuted = false);
  std::vector<TensorSource> tensors;  // of the last write

  TensorSource& source(const std::string& name);
};

inline std::unique_ptr<Model> load(Backend& backend, const TinyModel& tiny) {
  return load_model(backend, tiny.config, tiny.tensors, {});
}

/// A model on a backend, with an adapter of random A, B, P on the given modules (all when empty).
struct Engine {
  Engine(std::unique_ptr<Backend> owned, TinyModel& tiny);

  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  std::unique_ptr<Adapters> adapters;
  std::unique_ptr<Parameters> parameters;
  std::unique_ptr<Trainer> trainer;
  std::atomic<bool> abort{false};

  ScoreResult forward(const ScoreBatch& batch) { return trainer->forward(batch, abort); }
  std::vector<double> backward(const std::vector<float>& d_logprobs, const std::vector<std::int32_t>& parts = {}) {
    return trainer->backward(d_logprobs, parts, abort);
  }
};

/// Rank 2, u 3, two slots; `groups` tie groups, modules dealt to them in runs.
Basis random_basis(const ModelConfig& config, int groups, std::vector<int> modules = {});
/// The same numbers for the same slot.
std::vector<float> random_vector(const Basis& basis, int slot);
/// Basis on all modules with all slots set.
Basis set_random_adapters(Engine& engine, int groups);

/// Appends a sequence; returns its index.
int add_sequence(ScoreBatch& batch, const std::vector<std::int32_t>& tokens, int parent, int slot, bool scored,
                 float temperature = 1);
std::vector<std::int32_t> random_tokens(int count, int vocab, std::uint64_t seed);
/// Two groups with shared prompts (one ends in the middle of a page, one at its end), a lone sequence, the base model.
ScoreBatch mixed_batch(int vocab);
/// 0 where unscored.
std::vector<float> random_weights(const ScoreResult& scores, std::uint64_t seed);

/// The call must fail with this code and a message that contains `part`.
void expect_error(const std::string& code, const std::string& part, const std::function<void()>& call);

}  // namespace tinylora::test
