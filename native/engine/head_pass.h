// From the residual stream to the log-probabilities of scored tokens, forward and backward.
#pragma once

#include <memory>
#include <vector>

#include "engine/gradients.h"
#include "engine/head_input.h"
#include "engine/model.h"
#include "engine/score_batch.h"

namespace tinylora {

class HeadPass {
 public:
  /// Room for `capacity` scored tokens; `keep` adds the buffers of `backward`.
  HeadPass(const Model& model, int capacity, bool keep);

  std::size_t bytes() const { return bytes_; }

  struct Result {
    std::vector<float> logprobs;   // [n]
    std::vector<float> entropies;  // [n]
  };
  /// x [M, C] is the residual stream after the last layer.
  Result forward(const float* x, const ScoredTokens& scored);
  /// Adds the gradient of sum_i d_logprobs[i] * logprobs[i] of the last forward to d_x [M, C] and to the weights of the
  /// head and its norm in `gradient`.
  void backward(const std::vector<float>& d_logprobs, const ModelGradient& gradient, float* d_x);

 private:
  void lay_out(Arena& arena);

  const Model& model_;
  int capacity_;
  bool keep_;
  int count_ = 0;  // n of the last forward
  std::size_t bytes_ = 0;
  std::shared_ptr<void> memory_;

  HeadInput input_;
  std::int32_t* targets_ = nullptr;   // [n]
  float* inv_temperature_ = nullptr;  // [n]
  float* logp_ = nullptr;             // [n]
  float* entropy_ = nullptr;          // [n]
  float* lse_ = nullptr;              // [n]
  float* d_logp_ = nullptr;           // [n]
  float* d_normed_ = nullptr;         // [n, C]
  float* d_gathered_ = nullptr;       // [n, C]
};

}  // namespace tinylora
