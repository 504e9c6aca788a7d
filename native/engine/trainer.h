// Log-probabilities of packed sequences and their gradient, which scoring, SFT and GRPO use.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/forward.h"
#include "engine/parameters.h"
#include "engine/sampled_sequences.h"
#include "engine/score_batch.h"

namespace tinylora {

struct ScoreResult {
  std::vector<float> logprobs;   // [tokens], NaN where unscored and for the first token of a sequence without parent
  std::vector<float> entropies;  // [tokens]
  bool sampled = false;          // the layers had nothing to do
};

class Trainer {
 public:
  /// A pass over what is in `sampled`, where given, runs no layers: its forward pass was the sampler's.
  Trainer(Model& model, Adapters& adapters, Parameters& parameters, const SampledSequences* sampled = nullptr);
  ~Trainer();

  /// Checks the batch (ids, parents, slots, context length) before anything runs. A pass that is not kept leaves an
  /// earlier kept one as it is. A log-probability that is NaN or infinite is ERR_NUMERIC.
  ScoreResult forward(const ScoreBatch& batch, const std::atomic<bool>& abort);
  /// Gradient of sum_t d_logprobs[t] * logprobs[t] over the scored tokens (others are not read) into the adapters'
  /// accumulators and those of the trained weights. Needs a kept forward, of the basis, vectors and weights that the
  /// model still has, and uses it up. NaN or infinity in d_logprobs or in the adapters' gradient is ERR_NUMERIC. After
  /// an error in the pass all accumulators are zero.
  /// `parts`: empty, or the part of each sequence: ascending from 0 without gaps. The sequences of a part have one
  /// slot, and a child has its parent's part. Returns the gradient of v of each part, [parts, groups * u]; their sum is
  /// what was added to the accumulators.
  std::vector<double> backward(const std::vector<float>& d_logprobs, const std::vector<std::int32_t>& parts,
                               const std::atomic<bool>& abort);
  std::size_t activation_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tinylora
