// Log-probabilities of packed sequences and their gradient: what score, SFT and GRPO are made of.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/forward.h"

namespace tinylora {

/// Sequences laid end to end (lib/native/addon.ts, ForwardBatch).
struct ScoreBatch {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> starts;   // [n + 1]
  std::vector<std::int32_t> parents;  // [n], -1: none
  std::vector<std::int32_t> slots;    // [n], -1: base model
  std::vector<std::uint8_t> scored;   // [n]
  std::vector<float> temperatures;    // [n]
  bool keep = false;
};

struct ScoreResult {
  std::vector<float> logprobs;   // [tokens], NaN where unscored
  std::vector<float> entropies;  // [tokens]
};

class Trainer {
 public:
  Trainer(Model& model, Adapters& adapters);
  ~Trainer();

  /// Checks the batch (ids, parents, slots, context length) before anything runs.
  ScoreResult forward(const ScoreBatch& batch, const std::atomic<bool>& abort);
  /// Gradient of sum_t d_logprobs[t] * logprobs[t] into the adapters' accumulators. Needs a kept forward; uses it up.
  /// A NaN or infinity in d_logprobs or in the gradient is ERR_NUMERIC.
  void backward(const std::vector<float>& d_logprobs, const std::atomic<bool>& abort);
  std::size_t activation_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tinylora
