// Log-probabilities of packed sequences and their gradient: what score, SFT and GRPO are made of.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/forward.h"
#include "engine/parameters.h"
#include "engine/score_batch.h"

namespace tinylora {

struct ScoreResult {
  std::vector<float> logprobs;   // [tokens], NaN where unscored and for the first token of a sequence without parent
  std::vector<float> entropies;  // [tokens]
};

class Trainer {
 public:
  Trainer(Model& model, Adapters& adapters, Parameters& parameters);
  ~Trainer();

  /// Checks the batch (ids, parents, slots, context length) before anything runs. A pass that is not kept leaves an
  /// earlier kept one as it is. A log-probability that is NaN or infinite is ERR_NUMERIC.
  ScoreResult forward(const ScoreBatch& batch, const std::atomic<bool>& abort);
  /// Gradient of sum_t d_logprobs[t] * logprobs[t] over the scored tokens (others are not read) into the adapters'
  /// accumulators and those of the trained weights. Needs a kept forward, of the basis, vectors and weights that the
  /// model still has; uses it up. A NaN or infinity in d_logprobs or in the adapters' gradient is ERR_NUMERIC. The
  /// accumulators are zero after an error on the way.
  /// `parts`: none, or the part of each sequence: 0 and up, one after another, each of one slot, a child's that of its
  /// parent. The gradient of v of each comes back, [parts, groups * u]; they add up to what the accumulators got.
  std::vector<double> backward(const std::vector<float>& d_logprobs, const std::vector<std::int32_t>& parts,
                               const std::atomic<bool>& abort);
  std::size_t activation_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tinylora
